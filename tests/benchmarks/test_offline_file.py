"""The file that is measured is one that the SDK could have written."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import msgspec
import pytest
from benchmarks.cases import OFFLINE
from benchmarks.offline_file import BLOCK_BYTES, framed, records, spell_as_go, write_run
from benchmarks.parse_records import read_payloads
from wandb.proto.wandb_internal_pb2 import Record

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workloads import Workload

WITH_SUMMARIES = OFFLINE[2].workload


def small(workload: Workload, rows: int) -> Workload:
    return msgspec.structs.replace(workload, rows_per_run=rows)


def row_of(record: Record) -> dict[str, float]:
    return {".".join(one.nested_key): json.loads(one.value_json) for one in record.history.item}


def kinds(content: bytes) -> list[int]:
    """Return the kind of each chunk."""
    found, at = [], 7
    while at < len(content):
        if BLOCK_BYTES - at % BLOCK_BYTES < 7:
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        found.append(kind)
        at += 7 + size
    return found


@pytest.mark.parametrize("left", range(9))
def test_records_read_back_when_few_bytes_of_a_block_are_left(left: int) -> None:
    payloads = [bytes(BLOCK_BYTES - 7 - 7 - left), b"next", b"", bytes(range(256)) * 400, b"end"]
    assert read_payloads(b"".join(framed(payloads))) == payloads


def test_long_record_has_a_first_middle_and_last_chunk() -> None:
    assert kinds(b"".join(framed([b"x", bytes(3 * BLOCK_BYTES), b"y"]))) == [1, 2, 3, 3, 4, 1]


def test_record_begins_with_an_empty_chunk_when_its_header_just_fits() -> None:
    assert kinds(b"".join(framed([bytes(BLOCK_BYTES - 7 - 7 - 7), b"y"]))) == [1, 2, 4]


def test_file_holds_rows_with_summaries_before_each(tmp_path: Path) -> None:
    workload = small(WITH_SUMMARIES, 400)
    path = write_run(workload, tmp_path)
    content = path.read_bytes()
    assert {1, 2, 4} == set(kinds(content))
    read = [Record.FromString(payload) for payload in read_payloads(content)]
    assert len(read) == workload.records
    assert [record.num for record in read] == list(range(1, workload.records + 1))
    order = [record.WhichOneof("record_type") for record in read]
    assert order == ["header", "run", *["summary", "summary", "history"] * 400, "exit"]
    rows = [row_of(record) for record in read[4::3]]
    assert [row["_step"] for row in rows] == list(range(400))
    names = {f"m/{index}" for index in range(5)} | {"_step", "_timestamp", "_runtime"}
    assert all(set(row) == names for row in rows)
    assert [row["_timestamp"] for row in rows] == sorted({row["_timestamp"] for row in rows})
    assert len({tuple(row) for row in rows}) > 300


def test_file_is_the_same_every_time() -> None:
    workload = small(WITH_SUMMARIES, 20)
    assert list(records(workload)) == list(records(workload))


@pytest.mark.parametrize(
    ("epoch_seconds", "spelled"),
    [(1795446955.118609, "1.795446955118609e+09"), (1735689600.5, "1.7356896005e+09")],
)
def test_times_are_spelled_as_wandb_core_does(epoch_seconds: float, spelled: str) -> None:
    assert spell_as_go(epoch_seconds) == spelled
    assert float(spelled) == epoch_seconds
