"""The exact bytes of records."""

from decimal import Decimal
from typing import Any

import pytest
from returns.result import Failure, Success

from dr_wandb.core.contract.codec import (
    canonical_row,
    canonical_snapshot,
    decode_row,
    decode_snapshot,
    encode_document,
    encode_line,
    row_key,
    run_and_key,
)
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import HistoryRow, RunSnapshot, RunUser, WandbRun
from dr_wandb.core.contract.values import spell_number

SPELLINGS = [
    (0, "0"),
    (-0.0, "0"),
    (4, "4"),
    (4.0, "4"),
    (-4.0, "-4"),
    (1e3, "1000"),
    (1e15, "1000000000000000"),
    (2.0**53 - 1, "9007199254740991"),
    (2.0**53, "9007199254740992.0"),
    (-(2.0**53), "-9007199254740992.0"),
    (2.0**53 + 2, "9007199254740994.0"),
    (2**53, "9007199254740992"),
    (2**53 + 1, "9007199254740993"),
    (9999999999999998.0, "9999999999999998.0"),
    (1e16, "1e16"),
    (-1e16, "-1e16"),
    (1.5e16, "1.5e16"),
    (123456789012345680.0, "1.2345678901234568e17"),
    (1e22, "1e22"),
    (1.7976931348623157e308, "1.7976931348623157e308"),
    (0.1, "0.1"),
    (0.5, "0.5"),
    (-1.25, "-1.25"),
    (0.30000000000000004, "0.30000000000000004"),
    (0.001, "0.001"),
    (0.00012, "0.00012"),
    (0.00001, "0.00001"),
    (0.000012, "0.000012"),
    (0.000009999, "9.999e-6"),
    (1e-6, "1e-6"),
    (1.5e-7, "1.5e-7"),
    (2.2250738585072014e-308, "2.2250738585072014e-308"),
    (5e-324, "5e-324"),
    (2**63, "9223372036854775808"),
    (2**64, "18446744073709551616"),
    (-(2**64), "-18446744073709551616"),
    (10**400, "1" + "0" * 400),
    (1700000000.0, "1700000000"),
    (1700000000.123457, "1700000000.123457"),
]


@pytest.mark.parametrize(("value", "spelling"), SPELLINGS, ids=lambda value: str(value)[:24])
def test_number_has_one_spelling(value: float, spelling: str) -> None:
    assert spell_number(value) == spelling
    line = encode_line(normalize_row({"value": value}, "run"))
    assert f'"metrics":{{"value":{spelling}}}'.encode() in line
    assert Decimal(spelling) == Decimal(value) or float(spelling) == value


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        (float("nan"), b'"NaN"'),
        (float("inf"), b'"Infinity"'),
        (float("-inf"), b'"-Infinity"'),
        ("NaN", b'"NaN"'),
        (True, b"true"),
        ([None, 1.0], b"[null,1]"),
        ([{"b": 1, "a": None}], b'[{"b":1}]'),
        ([{"b": {"d": 1, "c": 2}, "a": 0}], b'[{"a":0,"b":{"c":2,"d":1}}]'),
        ("\ud800", rb'"\\ud800"'),
        ("\x00\x1f", rb'"\u0000\u001f"'),
        ("\u2028", '"\u2028"'.encode()),
        ("\U0001f600", '"\U0001f600"'.encode()),
        ("é", '"é"'.encode()),
        ('"\\/', rb'"\"\\/"'),
        ("\n\t", rb'"\n\t"'),
        ("", b'""'),
        ([{"": 1}], b'[{"":1}]'),
        ([{"a.b": 1, "a": {"b": 2}}], b'[{"a":{"b":2},"a.b":1}]'),
    ],
    ids=repr,
)
def test_value_has_one_form(value: Any, spelling: bytes) -> None:
    line = encode_line(normalize_row({"value": value}, "run"))
    assert b'"metrics":{"value":' + spelling + b"}" in line


def test_row_is_one_line_with_sorted_fields() -> None:
    row = normalize_row(
        {
            "_timestamp": 1700000000.0,
            "_step": 3.0,
            "_runtime": 1.5,
            "_wandb": {"b": 1, "a": None},
            "loss": 0.25,
            "_other": "x",
        },
        "run",
    )
    assert encode_line(row) == (
        b'{"extra":{"_other":"x"},"metrics":{"loss":0.25},"run_id":"run","runtime":1.5,'
        b'"step":3,"timestamp":"1700000000","wandb_metadata":{"b":1}}\n'
    )


def test_keys_are_ordered_by_their_bytes() -> None:
    """Not by UTF-16, where the emoji would come before U+FF5E."""
    line = encode_line(normalize_row({"\U0001f600": 1, "\uff5e": 2, "z": 3, "Z": 4}, "run"))
    assert '{"Z":4,"z":3,"\uff5e":2,"\U0001f600":1}'.encode() in line


def test_document_is_indented_and_sorted() -> None:
    assert encode_document(RunUser(username="u", name=None)) == (
        b'{\n  "name": null,\n  "username": "u"\n}\n'
    )


OLD_ROW = (
    b'{"extra": {"_custom": 1.0}, "metrics": {"a": 4.0, "b": null, "c": {"d": null, "e": 1e16}}, '
    b'"run_id": "run", "runtime": 12.0, "step": 3, "timestamp": "1700000000.0", '
    b'"wandb_metadata": {}}\n'
)


def test_row_of_3_0_3_is_read_into_our_form() -> None:
    row = canonical_row(OLD_ROW).unwrap()
    assert encode_line(row) == (
        b'{"extra":{"_custom":1},"metrics":{"a":4,"c.e":1e16},"run_id":"run","runtime":12,'
        b'"step":3,"timestamp":"1700000000","wandb_metadata":{}}\n'
    )


def test_row_of_3_0_3_with_a_nan_is_read() -> None:
    """3.0.3 wrote bare NaN tokens, which its own loader refused."""
    line = b'{"run_id": "run", "step": 1, "metrics": {"a": NaN, "b": -Infinity}}\n'
    expected = HistoryRow(run_id="run", step=1, metrics={"a": "NaN", "b": "-Infinity"})
    assert canonical_row(line) == Success(expected)
    assert decode_row(line) == Success(expected)


def test_snapshot_of_3_0_3_is_read_into_our_form() -> None:
    line = (
        b'{"exported_at": "2024-01-02T03:04:05.500000+00:00", "run": {"run_id": "r", "name": "n", '
        b'"entity": "e", "project": "p", "created_at": "2024-01-01T00:00:00", "updated_at": null, '
        b'"user": "<User ada>", "config": {"lr": 1.0, "none": null}, "tags": ["t"]}}\n'
    )
    assert canonical_snapshot(line) == Success(
        RunSnapshot(
            exported_at="2024-01-02T03:04:05.5Z",
            run=WandbRun(
                run_id="r",
                name="n",
                entity="e",
                project="p",
                created_at="2024-01-01T00:00:00Z",
                user=RunUser(username="ada"),
                config={"lr": 1, "none": None},
                tags=["t"],
            ),
        )
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"run_id": 1}',
        b'{"run_id": "a", "step": "x"}',
        b'{"run_id": "a"} {}',
        b"\xff\xfe",
        b'{"run_id": "a", "metrics": []}',
    ],
)
def test_line_that_is_no_record_is_a_failure_with_words(line: bytes) -> None:
    for decode in (decode_row, decode_snapshot, canonical_row, canonical_snapshot):
        result = decode(line)
        assert isinstance(result, Failure)
        assert result.failure()


def test_line_is_read_for_its_run_id_and_key() -> None:
    line = encode_line(HistoryRow(run_id="run", step=3, timestamp="10.5"))
    assert run_and_key(line) == ("run", row_key(3, "10.5"))


def test_timestamps_compare_as_numbers() -> None:
    places = [(1, "9"), (1, "10"), (1, "10.5"), (1, None), (2, "1"), (None, "1"), (None, None)]
    backwards = places[::-1]
    assert sorted(backwards, key=lambda place: row_key(*place)) == places


@pytest.mark.parametrize("timestamp", ["text", "", "nan", "inf", "9" * 5000])
def test_timestamp_that_is_no_number_comes_last(timestamp: str) -> None:
    assert row_key(1, timestamp) == row_key(1, None)
