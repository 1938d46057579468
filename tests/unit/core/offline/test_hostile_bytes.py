"""What is read of records and files that are not written as the SDK writes them."""

import json
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from returns.result import Success
from wandb.proto import wandb_internal_pb2 as pb

from dr_wandb.core.offline.cells import Cells, columns_of
from dr_wandb.core.offline.decoding import decode_record
from dr_wandb.core.offline.few import last_texts
from dr_wandb.core.offline.folding import RunFolding
from dr_wandb.core.offline.framing import FIRST, FULL, LAST, MIDDLE, PIECE_HEAD, read_frames
from dr_wandb.core.offline.host import time_of
from dr_wandb.core.offline.line_objects import objects_in
from dr_wandb.core.offline.lost_bytes import LostBytes
from dr_wandb.core.offline.records import Change, HeaderRecord, RunRecord, SystemSample
from dr_wandb.core.offline.run import RunFold
from dr_wandb.core.offline.tree import Tree
from dr_wandb.core.offline.wire import HISTORY, MOST_KEYS, ROOM, find_items, find_kinds

# Records


def test_sample_of_the_machine_without_a_time_has_none() -> None:
    stats = pb.StatsRecord(item=[pb.StatsItem(key="cpu", value_json="0.5")])
    payload = pb.Record(stats=stats).SerializeToString()
    assert decode_record(payload) == Success(
        SystemSample(timestamp=None, values={"system.cpu": 0.5})
    )


def summary(**texts: str) -> bytes:
    record = pb.Record()
    for key, text in texts.items():
        record.summary.update.add(nested_key=[key], value_json=text)
    return bytes(record.SerializeToString())


def test_changes_of_a_summary_that_only_set_texts_give_the_last_of_each_path() -> None:
    changes = [summary(loss="1", acc="2"), summary(loss="3")]
    assert last_texts(changes) == {("loss",): b"3", ("acc",): b"2"}


@pytest.mark.parametrize("odd", [b"\xff", summary(loss="")], ids=["garbage", "no text"])
def test_one_change_that_does_more_than_to_set_texts_leaves_all_to_the_slow_way(odd: bytes) -> None:
    assert last_texts([summary(loss="1"), odd]) is None


def folded(*configs: str, producer: str) -> tuple[tuple[tuple[str, ...], object], ...]:
    folding = RunFolding(RunFold())
    folding.add(HeaderRecord(producer=producer))
    for key in configs:
        folding.add(RunRecord(run_id="a", config=Change(set=(((key,), b"1"),))))
    return folding.fold.config_leaves


def test_second_run_record_changes_the_config_in_files_that_python_wrote_alone() -> None:
    assert folded("lr", "seed", producer="") == ((("lr",), 1), (("seed",), 1))
    assert folded("lr", "seed", producer="0.31.0") == ((("lr",), 1),)


# Times


@pytest.mark.parametrize("seconds", [10**12, -(10**12), 2**63 - 1])
def test_moment_that_no_calendar_has_is_said_in_seconds(seconds: int) -> None:
    assert time_of(seconds, 5) == f"{seconds} seconds"


# Lines


@pytest.mark.parametrize("innermost", ["1", "NaN"])
def test_object_in_a_line_is_read_up_to_some_depth_and_no_object_beyond_it(innermost: str) -> None:
    lines = ['{"a":' * depth + innermost + "}" * depth for depth in range(1, 1200)]
    found = [[one.row for one in objects_in(f"{line}{{}}".encode())] for line in lines]
    read = [bool(rows) for rows in found]
    assert read == sorted(read, reverse=True)
    assert all(rows[1:] == [{}] and rows[0] is not None for rows in found if rows)
    written = [json.dumps(rows[0], separators=(",", ":")) for rows in found[:500]]
    assert written == lines[:500]


# Frames


def piece(kind: int, content: bytes) -> bytes:
    checked = bytes([kind]) + content
    return crc32(checked).to_bytes(4, "little") + len(content).to_bytes(2, "little") + checked


@pytest.mark.parametrize("cut", [[FIRST], [FIRST, MIDDLE]])
def test_record_that_another_one_begins_amid_is_lost_and_the_other_read(cut: Sequence[int]) -> None:
    begun = b"".join(piece(kind, b"cut off") for kind in cut)
    lost = LostBytes(offset=0, length=len(begun), reason="the rest of this record is missing")
    frames = read_frames(begun + piece(FULL, b"whole"), 0, len(begun) + PIECE_HEAD + 5)
    assert (frames.starts.tolist(), frames.ends.tolist()) == (
        [len(begun) + PIECE_HEAD],
        [len(begun) + PIECE_HEAD + 5],
    )
    assert (frames.joined, frames.lost) == ([], [lost])
    data = begun + piece(FIRST, b"two ") + piece(LAST, b"pieces")
    frames = read_frames(data, 0, len(data))
    assert [(one.offset, one.content) for one in frames.joined] == [(len(begun), b"two pieces")]
    assert frames.lost == [lost]


def test_record_begun_before_a_block_that_may_still_grow_is_read_again_from_its_begin() -> None:
    data = piece(FIRST, b"two ") + b"\0\0\0\0" + piece(LAST, b"pieces")[4:]
    frames = read_frames(data, 0, len(data))
    (lost,) = frames.lost
    assert (lost.offset, lost.length, lost.torn) == (0, len(data), True)
    assert (frames.joined, frames.end) == ([], 0)


# Kinds


def kind_of(record: bytes) -> tuple[int, bool]:
    """Return the tag of the one field of a record, and whether it is certain."""
    part = np.frombuffer(record + bytes(ROOM), np.uint8)
    kinds = find_kinds(part, np.array([0]), np.array([len(record)]))
    return int(kinds.tags[0]), bool(kinds.certain[0])


ROW = pb.HistoryRecord(step=pb.HistoryStep(num=3))


def test_record_with_the_longest_number_that_there_is_has_a_kind() -> None:
    longest = pb.Record(num=-1, history=ROW).SerializeToString()
    assert kind_of(longest) == (HISTORY, True)
    number, rest = longest[:11], longest[11:]
    assert number == b"\x08" + b"\xff" * 9 + b"\x01"
    too_long = number[:-1] + b"\xff\x01"
    _, certain = kind_of(too_long + rest)
    assert not certain


def test_three_fields_beside_its_content_leave_the_kind_of_a_record_certain() -> None:
    record = pb.Record(num=1, history=ROW, uuid="u")
    record.control.local = True
    record._info.stream_id = "s"
    payload = record.SerializeToString()
    assert kind_of(payload) == (HISTORY, True)
    again = pb.Record(uuid="v").SerializeToString()
    assert kind_of(payload + again) == (HISTORY, False)


# Columns


def columns_in(*rows: dict[str, str]) -> dict[str, Cells] | None:
    """Return the columns of rows, each given as the JSON texts of its metrics."""
    contents = []
    for step, texts in enumerate(rows):
        history = pb.HistoryRecord(step=pb.HistoryStep(num=step))
        for key, text in texts.items():
            history.item.add(nested_key=[key], value_json=text)
        contents.append(history.SerializeToString())
    part = np.frombuffer(b"".join(contents) + bytes(ROOM), np.uint8)
    ends = np.cumsum([len(content) for content in contents])
    begins = np.array([0, *ends[:-1]])
    items, unfit, beside = find_items(part, begins, ends, has_step=True)
    assert not unfit.any()
    return columns_of(part, items, unfit, beside)


@pytest.mark.parametrize("texts", [["0.123456789", "0.987654321"], ["0.125", "0.987654321"]])
def test_texts_of_many_digits_are_read_as_the_numbers_that_they_are(texts: list[str]) -> None:
    columns = columns_in(*({"loss": text} for text in texts))
    assert columns == {"_step": [0, 1], "loss": [float(text) for text in texts]}


def test_object_nested_deeper_than_python_calls_is_spread_in_order() -> None:
    value: dict[str, Any] = {"a": 1, "b": 2}
    for _ in range(3000):
        value = {"x": value, "y": 0}
    tree = Tree()
    tree.spread(("k",), value)
    leaves = list(tree.leaves())
    assert len(leaves) == 3002
    assert [path[-1] for path, _ in leaves[:2]] == ["a", "b"]
    assert [path for path, _ in leaves[-2:]] == [("k", "x", "y"), ("k", "y")]


@pytest.mark.parametrize("levels", [1, MOST_KEYS - 1, MOST_KEYS, MOST_KEYS + 1, 20])
def test_item_of_any_number_of_keys_is_read_under_its_path(levels: int) -> None:
    path = [f"k{level}" for level in range(levels)]
    row = pb.HistoryRecord()
    row.step.num = 3
    row.item.add(nested_key=path, value_json="0.5")
    content = row.SerializeToString()
    part = np.frombuffer(content + bytes(ROOM), np.uint8)
    begins, ends = np.array([0]), np.array([len(content)])
    items, unfit, beside = find_items(part, begins, ends, has_step=True)
    columns = None if unfit.any() else columns_of(part, items, unfit, beside)
    assert columns in (None, {"_step": [3], ".".join(path): [0.5]})
    assert levels > MOST_KEYS or columns is not None
