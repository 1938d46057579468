"""Law of folding `.wandb` files: many records at once make what they make one by one."""

import itertools
from typing import Any

import msgspec
from hypothesis import event, example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from returns.result import Success
from wandb.proto import wandb_internal_pb2 as pb

from dr_wandb.core.offline.decoding import decode_record
from dr_wandb.core.offline.folding import RunFolding
from dr_wandb.core.offline.framing import read_parts
from dr_wandb.core.offline.parts import sort_records
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import HistoryRecord
from dr_wandb.core.offline.run import RunFold
from dr_wandb.core.offline.steps import step_of
from dr_wandb.core.offline.wandb_file import read_file
from tests.support.wandb_file import (
    KeyPath,
    config_record,
    environment_record,
    exit_record,
    file_of,
    header_record,
    row_record,
    run_record,
    summary_record,
    telemetry_record,
    wire_field,
)

PATHS: tuple[KeyPath, ...] = (
    ("a",),
    ("b",),
    ("a", "b"),
    ("a", "b", "c"),
    ("_step",),
    ("_wandb", "x"),
)
paths = st.sampled_from(PATHS)
values = st.sampled_from([None, 0, 1.5, "text", {}, {"b": 1, "c": {"d": 2}}, [1, {}]])
changes = st.dictionaries(paths, values, max_size=3)


def beside(payload: bytes, where: str) -> bytes:
    """Put W&B's own fields beside what a record says, as the SDKs do in several ways."""
    info = pb.Record()
    info._info.stream_id = "run"
    info.control.relay_id = "relay"
    own: bytes = info.SerializeToString()
    new = wire_field(995, b"of a later version")
    return {
        "nowhere": payload,
        "before": own + payload,
        "behind": payload + own,
        "new": payload + new,
    }[where]


summaries = st.builds(
    lambda set_, removed, flat: summary_record(set_, removed, flat=flat),
    changes,
    st.lists(paths, max_size=1),
    st.booleans(),
)
simple_summaries = st.builds(summary_record, changes)
rows = st.builds(
    lambda step: row_record({**({} if step is None else {"_step": step}), "a": 1}),
    st.none() | st.integers(0, 9) | st.integers(0, 9),
)
others = st.sampled_from(
    [
        *(run_record(config={"a": 1}), config_record({"b": 2}), exit_record(1)),
        *(telemetry_record("0.31.0"), telemetry_record(resumed=True)),
        *(b"\x08\x01", b"\xff"),
    ]
)
records = st.builds(
    beside,
    summaries | simple_summaries | simple_summaries | rows | others,
    st.sampled_from(["nowhere", "nowhere", "before", "behind", "new"]),
)


def folded_one_by_one(payloads: list[bytes]) -> RunFold:
    folder = RunFolding(RunFold())
    steps: list[int | None] = []
    numbers = itertools.count()
    for payload in payloads:
        match decode_record(payload):
            case Success(HistoryRecord(row=row)):
                steps.append(next(numbers) if row.get("_step") is None else step_of(row))
            case Success(record):
                folder.add(record)
            case _:
                folder.skip()
    folder.stepless = next(numbers)
    folder.add_rows(steps)
    return folder.fold


@given(st.sampled_from(["0.31.0", ""]), st.lists(records, max_size=12))
@example("0.31.0", [summary_record({("a",): 1}), beside(summary_record({("a",): 2}), "before")])
@example("0.31.0", [beside(summary_record({("a",): 1}), "new"), summary_record({("a",): 2})])
@example("0.31.0", [summary_record({("a",): 1}), beside(summary_record({("a",): 2}), "new")])
@example("0.31.0", [summary_record({("a",): 1}, flat=True), summary_record({("a",): 2})])
@example("0.31.0", [summary_record({("a", "b"): 1}), summary_record({("a",): 2})])
@example("", [summary_record({("a",): 1}), summary_record({("b",): 2})])
def test_fold_is_that_of_the_records_one_by_one(producer: str, payloads: list[bytes]) -> None:
    """The summary was an older one where several changes were taken at once."""
    everything = [header_record(producer), *payloads]
    content = file_of(everything)
    at_once: Any = [sort_records(content, frames) for frames in read_parts(content, 7)]
    event(f"changes taken at once: {sum(len(part.summaries.starts) for part in at_once) > 1}")
    fold = read_file(content, FileReading()).fold
    assert replace(fold, replay=None) == folded_one_by_one(everything)


def test_machine_of_several_writers_does_not_depend_on_the_byte_at_which_reading_stopped() -> None:
    """Metadata named another program once the run had been read from the index."""
    first, second = (environment_record(writer_id=name, program=name) for name in "ba")
    payloads = [header_record(), run_record(), first, second]
    reading = read_file(file_of(payloads), FileReading())
    kept = msgspec.json.decode(msgspec.json.encode(reading, order="sorted"), type=FileReading)
    assert kept.fold.host == reading.fold.host
    assert reading.fold.host["program"] == "b"
