"""Laws of files of W&B's Python client (SDK 0.17 and before): what it made of rows."""

from typing import Any

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.offline.legacy import replayed
from dr_wandb.core.offline.metrics import Metric
from dr_wandb.core.offline.parts import row_of
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.run import Replay, behind
from dr_wandb.core.offline.wandb_file import read_file
from tests.support.wandb_file import (
    config_record,
    exit_record,
    file_of,
    header_record,
    history_record,
    item,
    metric_record,
    row_record,
    run_record,
    summary_record,
    telemetry_record,
)

KEYS = ("loss", "val/acc", "val/f1", "x.y", "nested", "_own")
values = st.one_of(
    st.integers(-3, 3),
    st.floats(width=16),
    st.sampled_from([None, True, "text", {}, [1], 10**400, float("nan"), float("inf")]),
    st.sampled_from([{"a": 1}, {"a": {"b": 2.5}, "c": 1}, {"_type": "image-file", "size": 3}]),
    st.just({"\ud800": 3}),
)
rows = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
summaries = st.lists(
    st.sampled_from(["min", "max", "mean", "best", "last", "none", "copy"]), max_size=2, unique=True
)


def row_at(step: int, row: dict[str, Any]) -> bytes:
    return row_record({**row, "_step": step, "_timestamp": 1e9 + step}, flat=True)


metrics = st.builds(
    metric_record,
    st.sampled_from([*KEYS, "nested.a", "x\\.y", "epoch"]),
    axis=st.sampled_from(["", "epoch", "loss"]),
    summary=st.none() | summaries,
    replaces=st.booleans(),
    goal=st.integers(0, 2),
)
globs = st.builds(
    metric_record,
    glob=st.sampled_from(["*", "val/*", "nested.*", "odd"]),
    axis=st.sampled_from(["", "epoch"]),
    summary=st.none() | summaries,
)
others = st.one_of(
    st.builds(telemetry_record, st.sampled_from(["0.15.12", ""]), resumed=st.booleans()),
    st.sampled_from([run_record(), config_record({"a": 1}, flat=True), exit_record(1, runtime=2)]),
    st.sampled_from([b"\xff", history_record([item("typed", number=0.5)])]),
    st.sampled_from([history_record([item(("loss", "deep"), "1"), item("_step", "3")])]),
)


@st.composite
def files(draw: Any, *, defines: bool = True) -> list[bytes]:
    """Records of a file: rows, definitions, and seldom the summary of a session that ended."""
    kinds = [st.builds(row_at, st.integers(0, 9), rows)] * 3 + [others]
    kinds += [metrics, globs] if defines else []
    payloads = draw(st.lists(st.one_of(kinds), max_size=10))
    if draw(st.integers(0, 4)) == 0:
        payloads.insert(draw(st.integers(0, len(payloads))), summary_record({"a": 1}, flat=True))
    return [header_record(""), *payloads]


@given(files(), files(), st.data())
def test_reading_a_file_of_the_python_client_in_pieces_is_reading_it_at_once(
    first: list[bytes], payloads: list[bytes], data: st.DataObject
) -> None:
    before = FileReading(fold=behind(read_file(file_of(first), FileReading()).fold))
    at_once = read_file(file_of(payloads), before).fold
    pieces = before
    for border in sorted(data.draw(st.lists(st.integers(1, len(payloads)), max_size=2))):
        pieces = as_kept(read_file(file_of(payloads[:border]), pieces))
    assert as_kept(read_file(file_of(payloads), pieces)).fold == at_once
    event(f"replayed: {at_once.replay is not None}")


def as_kept(reading: FileReading) -> FileReading:
    """Return a reading as it comes back from the index."""
    return msgspec.json.decode(msgspec.json.encode(reading), type=FileReading)


@given(files(defines=False))
def test_summary_without_definitions_is_the_last_value_of_each_key(payloads: list[bytes]) -> None:
    content = file_of(payloads)
    last: dict[str, Any] = {}
    for payload in payloads:
        last.update(row_of(payload) or {})
    for has_metrics in (False, True):  # all rows at once, or record by record
        replay = replayed(
            content, len(content), Replay(), has_metrics=has_metrics, after_part=lambda: None
        )
        assert replay.summary == {key: plain_form(value) for key, value in last.items()}


def test_lone_surrogate_in_a_key_of_a_row_is_an_escape() -> None:
    """The names of metrics and of what is tracked could not be written to the index."""
    row = row_record({"v": {"\ud800": 3}, "n": {"\udfff": {"a": 2}}}, flat=True)
    defined = [metric_record(glob="v*"), metric_record("n", summary=["max"])]
    payloads = [header_record(""), run_record(), *defined, row]
    reading = as_kept(read_file(file_of(payloads), FileReading()))
    again = as_kept(read_file(file_of([*payloads, row]), reading))
    assert reading.fold.replay is not None
    assert again.fold.replay is not None
    assert [metric.name for metric in reading.fold.replay.metrics] == ["n", "v.\\ud800"]
    assert reading.fold.replay.summary["n"] == {"\\udfff": {"a": {"max": 2}}}
    assert again.fold.replay.summary == reading.fold.replay.summary


def test_key_that_matched_no_glob_is_compared_again_only_after_a_further_glob(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1,000 globs and 300 rows of 200 keys took 23 seconds."""
    compared: list[str] = []
    matches = Metric.matches

    def counted(glob: Metric, key: str) -> bool:
        compared.append(key)
        return matches(glob, key)

    monkeypatch.setattr(Metric, "matches", counted)
    rows = [row_record({"loss": step}, flat=True) for step in range(9)]
    payloads = [header_record(""), run_record(), metric_record(glob="a/*"), *rows]
    read_file(file_of(payloads), FileReading())
    assert compared == ["loss"]
    payloads += [metric_record(glob="l*"), *rows]
    replay = read_file(file_of(payloads), FileReading()).fold.replay
    assert replay is not None
    assert [metric.name for metric in replay.metrics] == ["loss"]
