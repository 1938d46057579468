"""Laws of the bytes: lossless, one spelling per value, one line per record."""

import json
import math
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from returns.result import Failure, Success

from dr_wandb.core.contract.codec import (
    canonical_row,
    canonical_snapshot,
    decode_row,
    decode_snapshot,
    digest,
    encode_document,
    encode_line,
    fingerprint,
    row_key,
    run_and_key,
)
from dr_wandb.core.contract.normalize import normalize_row, normalize_run
from dr_wandb.core.contract.records import HistoryRow, RunSnapshot, WandbRun
from tests.support import strategies as some

EXPORTED_AT = "2024-01-01T00:00:00Z"


def row_of(value: Any) -> HistoryRow:
    return normalize_row({"_step": 1, "value": value}, some.RUN_ID)


def run_of(config: Any, summary: Any = None, **fields: Any) -> WandbRun:
    raw_run = {"name": "run", "config": config, "summaryMetrics": summary or {}, **fields}
    return normalize_run(raw_run, entity="team", project="project")


def snapshot_of(config: Any, summary: Any = None) -> RunSnapshot:
    return RunSnapshot(run=run_of(config, summary), exported_at=EXPORTED_AT)


configs = st.dictionaries(some.texts, some.json_values, max_size=4)


@given(some.raw_rows)
@example({"value": some.nested(99)})
@example({"value": some.nested(100)})
@example({"value": some.nested(101)})
@example({"value": some.nested(101, kind="object")})
def test_rows_read_back_equal(raw_row: dict[str, Any]) -> None:
    row = normalize_row(raw_row, some.RUN_ID)
    assert decode_row(encode_line(row)) == Success(row)
    assert encode_line(decode_row(encode_line(row)).unwrap()) == encode_line(row)


@given(some.raw_rows)
@example({"value": some.nested(99)})
@example({"value": some.nested(100)})
@example({"value": some.nested(101)})
@example({"value": some.nested(100, kind="object")})
@example({"_wandb": some.nested(99, kind="object")})
@example({"_own": some.nested(99)})
def test_canonical_form_of_our_own_row_is_that_row(raw_row: dict[str, Any]) -> None:
    row = normalize_row(raw_row, some.RUN_ID)
    assert canonical_row(encode_line(row)).map(encode_line) == Success(encode_line(row))


nearly_our_rows = st.fixed_dictionaries(
    {
        "extra": configs,
        "metrics": st.dictionaries(
            some.texts,
            some.json_values | st.sampled_from([1.0, -0.0, 1e22, None, "1.0"]),
            max_size=4,
        ),
        "run_id": some.texts,
        "runtime": st.none() | some.finite_numbers,
        "step": st.none() | st.integers(0, 2**60),
        "timestamp": st.none() | some.texts | st.sampled_from(["1.50", "1e3", "0", "007", "nan"]),
        "wandb_metadata": configs,
    }
)


@given(nearly_our_rows, st.booleans())
def test_line_that_looks_like_ours_is_read_like_any_other(
    members: dict[str, Any], by_encoder: bool
) -> None:
    """With a space before it, it does not look like ours."""
    line = json.dumps(members, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    if by_encoder:  # the values as they were, which our form may not have
        with suppress(ValueError):
            line = encode_line(msgspec.json.decode(line, type=HistoryRow))
    read = canonical_row(line).map(encode_line)
    event("taken as it is" if read == Success(line) else "changed")
    assert read == canonical_row(b" " + line).map(encode_line)


@given(configs, configs)
@example({"value": some.nested(99)}, {})
@example({"value": some.nested(101)}, {"value": some.nested(101, kind="object")})
def test_snapshots_read_back_equal(config: dict[str, Any], summary: dict[str, Any]) -> None:
    snapshot = snapshot_of(config, summary)
    assert decode_snapshot(encode_line(snapshot)) == Success(snapshot)


@given(configs, configs)
@example({"value": some.nested(99)}, {})
@example({"value": some.nested(101)}, {"value": some.nested(101, kind="object")})
def test_canonical_form_of_our_own_snapshot_is_that_snapshot(
    config: dict[str, Any], summary: dict[str, Any]
) -> None:
    line = encode_line(snapshot_of(config, summary))
    assert canonical_snapshot(line).map(encode_line) == Success(line)


@given(some.raw_rows, st.data())
def test_equal_rows_have_equal_bytes(raw_row: dict[str, Any], data: st.DataObject) -> None:
    other = some.spell_otherwise(raw_row, data.draw)
    assert encode_line(normalize_row(other, some.RUN_ID)) == encode_line(
        normalize_row(raw_row, some.RUN_ID)
    )


@given(configs, configs, st.data())
def test_equal_snapshots_have_equal_bytes(
    config: dict[str, Any], summary: dict[str, Any], data: st.DataObject
) -> None:
    other = snapshot_of(
        some.spell_otherwise(config, data.draw), some.spell_otherwise(summary, data.draw)
    )
    assert encode_line(other) == encode_line(snapshot_of(config, summary))


@given(st.dictionaries(some.foreign_keys, some.scalars, max_size=5), st.data())
@example({"\ud800": 1, "\\ud800": 2}, None)
@example({1: "number", "1": "text", "1 (int)": "clash"}, None)
@example({"1 (int)": "clash", "1": "text", 1: "number"}, None)
@example({datetime(2024, 1, 1, tzinfo=UTC): 1, "2024-01-01T00:00:00Z": 2}, None)
def test_key_order_is_not_seen_in_the_bytes(members: dict[Any, Any], data: Any) -> None:
    keys = list(members)
    order = list(reversed(keys)) if data is None else data.draw(st.permutations(keys))
    shuffled = {key: members[key] for key in order}
    assert encode_line(row_of(shuffled)) == encode_line(row_of(members))
    text = {key: value for key, value in members.items() if isinstance(key, str)}
    assert encode_line(normalize_row(dict(reversed(text.items())), "run")) == encode_line(
        normalize_row(text, "run")
    )


def keys_in_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key.encode() for key, _ in pairs]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    return dict(pairs)


@given(some.raw_rows)
def test_line_is_sorted_dense_utf8_with_one_newline(raw_row: dict[str, Any]) -> None:
    row = normalize_row(raw_row, some.RUN_ID)
    line = encode_line(row)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    text = line.decode("utf-8", "strict")
    read = json.loads(text, object_pairs_hook=keys_in_order)
    assert read == msgspec.to_builtins(row)
    outside_of_texts = json.dumps(read, separators=(",", ":"), sort_keys=True)
    assert outside_of_texts.count(" ") == sum(part.count(" ") for part in _texts_in(read)), (
        "white space outside of texts"
    )


def _texts_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for member in value for text in _texts_in(member)]
    if isinstance(value, dict):
        return [text for key, member in value.items() for text in (key, *_texts_in(member))]
    return []


@given(st.dictionaries(st.text("abc"), st.lists(some.ints) | st.booleans(), max_size=4))
def test_line_has_no_white_space(metrics: dict[str, Any]) -> None:
    line = encode_line(normalize_row(metrics, some.RUN_ID))
    assert not any(letter in line[:-1] for letter in b" \t\n\r")


@given(some.finite_numbers)
def test_every_finite_number_reads_back_equal(value: float) -> None:
    line = encode_line(row_of(value))
    for read in (
        json.loads(line)["metrics"]["value"],
        decode_row(line).unwrap().metrics["value"],
        canonical_row(line).unwrap().metrics["value"],
    ):
        assert read == value
        assert type(read) in (int, float)


@given(some.finite_numbers)
def test_one_spelling_for_each_number(value: float) -> None:
    line = encode_line(row_of(value))
    if type(value) is float:
        assert encode_line(row_of(float(str(value)))) == line
        if value.is_integer() and abs(value) < 2**53:
            assert encode_line(row_of(int(value))) == line
            assert b"." not in line
    else:
        assert json.dumps(value).encode() in line


@given(some.floats)
def test_integral_doubles_from_two_to_the_53rd_stay_doubles(value: float) -> None:
    assume(math.isfinite(value) and value.is_integer() and abs(value) >= 2**53)
    assert type(json.loads(encode_line(row_of(value)))["metrics"]["value"]) is float


@given(st.sampled_from([math.nan, math.inf, -math.inf]), st.sampled_from(["metric", "nested"]))
def test_non_finite_numbers_are_texts(value: float, place: str) -> None:
    raw = value if place == "metric" else [{"in": [value]}]
    read = json.loads(encode_line(row_of(raw)))["metrics"]["value"]
    text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    assert read == (text if place == "metric" else [{"in": [text]}])


@given(some.texts)
def test_every_text_survives(text: str) -> None:
    (read,) = json.loads(encode_line(row_of([{text: text}])))["metrics"]["value"]
    assert list(read) == list(read.values())
    (kept,) = read
    if text.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert kept == text
    else:
        assert kept == text.encode("utf-8", "backslashreplace").decode()


@given(st.binary(max_size=40) | some.clean_texts.map(str.encode))
@example(b"[]")
@example(b"null")
@example(b"")
@example(b'{"run_id": 4}')
@example(b'{"run_id": "a", "step": "3"}')
@example(b'{"run_id":"a","metrics":{"value":' + b"9" * 5000 + b"}}")
@example(b'{"run_id":"a","metrics":{"value":' + b"[" * 100000 + b"]" * 100000 + b"}}")
@example(b'{"run_id":"a","timestamp":"' + b"9" * 5000 + b'"}')
def test_decoding_any_bytes_is_a_result(line: bytes) -> None:
    for decode in (decode_row, decode_snapshot, canonical_row, canonical_snapshot):
        match decode(line):
            case Failure(reason):
                assert isinstance(reason, str)
                assert reason
            case Success(record):
                assert isinstance(record, HistoryRow | RunSnapshot)


@given(some.raw_rows)
def test_run_id_and_key_of_a_line_are_those_of_its_row(raw_row: dict[str, Any]) -> None:
    row = normalize_row(raw_row, some.RUN_ID)
    assert run_and_key(encode_line(row)) == (some.RUN_ID, row_key(row.step, row.timestamp))


@given(st.lists(st.tuples(st.none() | some.ints, st.none() | some.timestamps), max_size=6))
def test_rows_are_ordered_by_step_then_timestamp_as_numbers_rows_without_one_last(
    places: list[tuple[int | None, float | None]],
) -> None:
    def key(place: tuple[int | None, float | None]) -> Any:
        row = normalize_row({"_step": place[0], "_timestamp": place[1]}, "run")
        return row_key(row.step, row.timestamp)

    last = math.inf
    expected = sorted(
        places,
        key=lambda place: (
            place[0] is None,
            place[0] or 0,
            last if place[1] is None else place[1],
        ),
    )
    assert [key(place) for place in sorted(places, key=key)] == [key(place) for place in expected]


@given(configs, st.none() | some.clean_texts, st.data())
def test_fingerprint_is_that_of_the_content_without_the_url(
    config: dict[str, Any], url: str | None, data: st.DataObject
) -> None:
    run = run_of(config)
    assert fingerprint(replace(run, url=url)) == fingerprint(run)
    assert fingerprint(run_of(some.spell_otherwise(config, data.draw))) == fingerprint(run)
    assert fingerprint(replace(run, notes="other")) != fingerprint(run)
    assert fingerprint(replace(run, tags=["other"])) != fingerprint(run)


@given(st.lists(st.sampled_from(["state", "tags", "summaryMetrics", "historyLineCount"])))
def test_fingerprint_differs_when_the_snapshot_differs(fields: list[str]) -> None:
    changed = {"state": "failed", "tags": ["t"], "summaryMetrics": {"a": 1}, "historyLineCount": 3}
    raw_run = {"name": "run", **{field: changed[field] for field in fields}}
    run = normalize_run(raw_run, entity="team", project="project")
    assert (fingerprint(run) == fingerprint(run_of({}))) == (run == run_of({}))


@given(some.export_states)
def test_documents_read_back_equal(state: Any) -> None:
    text = encode_document(state)
    assert text.endswith(b"}\n")
    assert msgspec.json.decode(text, type=type(state)) == state
    assert json.loads(text, object_pairs_hook=keys_in_order) == msgspec.json.decode(text)
    assert text.splitlines()[1].startswith(b'  "')


@given(st.binary())
def test_digest_is_128_bits_in_hex(content: bytes) -> None:
    assert len(bytes.fromhex(digest(content))) == 16
    assert digest(content) == digest(bytes(bytearray(content)))


FIELDS = ("displayName", "state", "createdAt", "id", "group", "tags", "readOnly", "historyKeys")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, some.json_values)))
@pytest.mark.filterwarnings("error")
def test_snapshot_reads_back_whatever_type_a_field_has(fields: dict[str, Any]) -> None:
    try:
        run = normalize_run({"name": "run", **fields}, entity="team", project="project")
    except ValueError as refused:
        assert any(field in str(refused) for field in fields)  # noqa: PT017
        return
    snapshot = RunSnapshot(run=run, exported_at=EXPORTED_AT)
    assert decode_snapshot(encode_line(snapshot)) == Success(snapshot)
