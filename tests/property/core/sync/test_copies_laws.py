"""Laws of copies: which rows of an answer are one row, and what is kept of them."""

import json
from collections import Counter
from typing import Any, NamedTuple
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import encode_line, row_key
from dr_wandb.core.contract.encoded_rows import ReceivedRow
from dr_wandb.core.contract.evidence import same_moment
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.sync import copies as module
from tests.support import strategies as some
from tests.support.arrived_rows import joined_rows, received


class Copy(NamedTuple):
    row: HistoryRow
    live: bool
    file: int


metrics = st.dictionaries(st.sampled_from("abc"), st.sampled_from([0, 1, True, "x"]), max_size=3)
rows = st.builds(
    HistoryRow,
    run_id=st.just("run"),
    step=st.none() | st.integers(0, 2),
    timestamp=st.none() | st.sampled_from(["1", "1.0000004", "1.5"]),
    runtime=st.none() | st.integers(0, 1),
    metrics=metrics,
    extra=st.dictionaries(st.sampled_from(["_x"]), st.integers(0, 1)),
    wandb_metadata=st.dictionaries(st.sampled_from(["y"]), st.integers(0, 1)),
)
copies = st.lists(
    st.builds(Copy, rows | some.history_rows(), st.booleans(), st.integers(0, 2)), max_size=8
)


def join(found: list[Copy]) -> list[HistoryRow]:
    return [decode(row) for row in joined_rows(map(arrived, found))]


def arrived(copy: Copy) -> ReceivedRow:
    return received(copy.row, live=copy.live, file=0 if copy.live else copy.file)


def decode(row: ReceivedRow) -> HistoryRow:
    return HistoryRow(**json.loads(row.content))


def members(row: HistoryRow) -> set[tuple[str, str, str]]:
    parts = {"metrics": row.metrics, "extra": row.extra, "wandb": row.wandb_metadata}
    held = {
        (part, key, json.dumps(value, sort_keys=True))
        for part, found in parts.items()
        for key, value in found.items()
    }
    return held if row.runtime is None else held | {("runtime", "", str(row.runtime))}


def at(step: int | None, timestamp: str | None, **values: Any) -> HistoryRow:
    return HistoryRow(run_id="run", step=step, timestamp=timestamp, metrics=values)


@given(copies, st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_the_order_of_arrival(found: list[Copy], random: Any) -> None:
    other = list(found)
    random.shuffle(other)
    assert join(other) == join(found)


@given(copies)
def test_rows_do_not_depend_on_the_numbers_of_files(found: list[Copy]) -> None:
    renumbered = [copy._replace(file=7 - 3 * copy.file) for copy in found]
    assert join(renumbered) == join(found)


@given(copies)
def test_answer_that_comes_twice_gives_the_same_rows(found: list[Copy]) -> None:
    assert join([*found, *found]) == join(found)


@given(copies)
def test_no_exported_value_is_lost(found: list[Copy]) -> None:
    result = join(found)
    for copy in found:
        if not copy.live:
            assert any(
                members(copy.row) <= members(row) and row.step == copy.row.step for row in result
            )


@given(copies)
def test_live_value_gives_way_to_an_exported_one_alone(found: list[Copy]) -> None:
    result = join(found)
    for copy in found:
        key = row_key(copy.row.step, copy.row.timestamp)
        same = [row for row in result if row_key(row.step, row.timestamp) == key]
        exported = [
            other.row
            for other in found
            if not other.live
            and other.row.step == copy.row.step
            and same_moment(other.row.timestamp, copy.row.timestamp)
        ]
        names = {(part, name) for row in exported for part, name, _ in members(row)}
        own = {one for one in members(copy.row) if one[:2] not in names}
        assert any(own <= members(row) for row in same) or any(
            own <= members(row) for row in result if row.step == copy.row.step
        )


@given(copies)
def test_every_value_came_with_that_step(found: list[Copy]) -> None:
    came: dict[Any, set[Any]] = {}
    for copy in found:
        came.setdefault(copy.row.step, set()).update(members(copy.row))
    for row in join(found):
        assert members(row) <= came[row.step]


@given(copies)
def test_rows_of_one_key_that_are_left_differ(found: list[Copy]) -> None:
    lines = Counter(encode_line(row) for row in join(found))
    assert all(count == 1 for count in lines.values())


@given(copies)
def test_many_rows_at_a_step_are_joined_by_their_timestamps(found: list[Copy]) -> None:
    timed = [copy for copy in found if copy.row.timestamp is not None]
    moments = {(copy.row.step, copy.row.timestamp) for copy in timed}
    one_each = [next(c for c in timed if (c.row.step, c.row.timestamp) == at) for at in moments]
    with patch.object(module, "MOST_AT_A_STEP", 2):
        assert join(one_each) == sorted((copy.row for copy in one_each), key=stored_order)


@given(rows, st.integers(1, 9))
def test_more_rows_of_one_moment_than_can_be_compared_are_kept(row: HistoryRow, more: int) -> None:
    row = replace(row, step=1, timestamp="1")
    found = [Copy(replace(row, metrics={"n": n}), True, 0) for n in range(more)]
    with patch.object(module, "MOST_AT_A_STEP", 2):
        assert join([*found, *found]) == [copy.row for copy in found]
    with patch.object(module, "MOST_BYTES", 1):
        assert join([*found, *found]) == [copy.row for copy in found]


def stored_order(row: HistoryRow) -> tuple[Any, ...]:
    return row_key(row.step, row.timestamp), encode_line(row)


@given(rows, rows)
def test_rows_of_different_steps_or_times_stay_two_rows(one: HistoryRow, other: HistoryRow) -> None:
    first = replace(one, step=1, timestamp="1")
    assert len(join([Copy(first, False, 0), Copy(replace(other, step=2), True, 0)])) == 2
    later = replace(other, step=1, timestamp="1.5")
    assert len(join([Copy(first, False, 0), Copy(later, False, 1)])) == 2


def test_row_that_is_exported_and_live_has_the_members_of_both() -> None:
    """Only the exported one was kept: what it did not have was gone."""
    exported, live = at(1, "1", a=0.1, b=1), at(1, "1", a=0.10000000149011612, c=2)
    assert join([Copy(live, True, 0), Copy(exported, False, 0)]) == [at(1, "1", a=0.1, b=1, c=2)]


def test_live_time_that_is_nearly_the_exported_one_is_the_same_row() -> None:
    """The last digit of a double may differ between the two; the row was stored twice."""
    exported = [at(1, "1.25", a=1), at(1, "1.5", a=3)]
    live = [at(1, "1.2500002", a=1, b=2), at(1, "1.5000002", a=3), at(1, "1.500002", a=4)]
    found = [*(Copy(row, False, 0) for row in exported), *(Copy(row, True, 0) for row in live)]
    assert join(found) == [at(1, "1.25", a=1, b=2), at(1, "1.5", a=3), at(1, "1.500002", a=4)]
    assert join([copy._replace(live=True) for copy in found]) == [
        *(row for pair in zip(exported, live, strict=False) for row in pair),
        live[2],
    ]


def test_step_in_two_files_with_other_columns_is_one_row() -> None:
    """One of the two was dropped, with its columns."""
    parts = [Copy(at(1, "1", a=1), False, 0), Copy(at(1, "1", b=2), False, 1)]
    assert join(parts) == [at(1, "1", a=1, b=2)]


def test_part_without_a_timestamp_belongs_to_the_row_of_another_file() -> None:
    parts = [Copy(at(1, "1", a=1), False, 0), Copy(at(1, None, b=2), False, 1)]
    assert join(parts) == [at(1, "1", a=1, b=2)]
    untimed = [Copy(at(1, None, a=1), False, 0), Copy(at(1, None, b=2), False, 1)]
    assert join(untimed) == [at(1, None, a=1, b=2)]


def test_part_without_a_timestamp_is_a_row_of_its_own_in_the_same_file_or_if_it_differs() -> None:
    first = at(1, "1", a=1)
    for part, file in ((at(1, None, b=2), 0), (at(1, None, a=2), 1)):
        assert join([Copy(first, False, 0), Copy(part, False, file)]) == [first, part]
    live = at(1, None, b=2)
    assert join([Copy(first, False, 0), Copy(live, True, 1)]) == [first, live]


def test_rows_of_one_kind_that_differ_in_a_member_stay_two_rows() -> None:
    """Writers that share a run may log one step in one instant."""
    one, two = at(1, "1", a=1), at(1, "1", a=2)
    for live in (True, False):
        assert join([Copy(one, live, 0), Copy(two, live, 0)]) == [one, two]
    exported = at(1, "1", a=1, b=3)
    assert join([Copy(exported, False, 0), Copy(one, True, 0), Copy(two, True, 0)]) == [
        exported,
        two,
    ]


def test_live_copy_of_a_row_that_two_files_make_is_not_stored_beside_it() -> None:
    parts = [Copy(at(1, None, a=1), False, 0), Copy(at(1, None, b=2), False, 1)]
    assert join([*parts, Copy(at(1, None, a=1, b=2), True, 0)]) == [at(1, None, a=1, b=2)]


@given(copies)
def test_rows_that_were_joined_stay_as_they_are(found: list[Copy]) -> None:
    once = join(found)
    assert join([Copy(row, False, 0) for row in once]) == once


def test_true_and_one_are_different_members() -> None:
    assert len(join([Copy(at(1, "1", a=1), True, 0), Copy(at(1, "1", a=True), True, 0)])) == 2
