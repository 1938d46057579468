"""Laws of merging: order of arrival does not matter, windows replace, nothing is doubled."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import decode_row
from dr_wandb.core.contract.encoded_rows import ReceivedRow, encode_rows
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.normalize import instant, normalize_time
from dr_wandb.core.contract.records import HistoryRow, RunSnapshot, WandbRun, snapshot_order
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.sync.merge import Tally, merge_lines, outside
from tests.support import strategies as some
from tests.support.arrived_rows import joined_rows, received, selected_lines, stored_order

rows = some.history_rows()
copies = st.lists(st.tuples(rows, st.booleans()), max_size=10)
Copies = list[tuple[HistoryRow, bool]]


def arrive(fetched: Copies) -> list[ReceivedRow]:
    return joined_rows(received(row, live=live) for row, live in fetched)


def inside(row: HistoryRow, window: FetchWindow) -> bool:
    if row.step is None:
        return not window.start
    above = not window.start or row.step >= window.start
    return above and (window.stop is None or row.step < window.stop)


def merged(stored: list[bytes], window: FetchWindow, fetched: list[ReceivedRow]) -> list[bytes]:
    return list(merge_lines(outside(stored, window), selected_lines(fetched)))


@given(copies, copies, some.fetch_windows)
@example([(HistoryRow(run_id="run", step=-1), True)], [], FetchWindow(stop=3))
@example([], [(HistoryRow(run_id="run", step=-1), True)], FetchWindow(start=0, stop=3))
def test_replacing_a_window_twice_is_replacing_it_once(
    held: Copies, fetched: Copies, window: FetchWindow
) -> None:
    stored = selected_lines(arrive(held))
    answer = arrive([copy for copy in fetched if inside(copy[0], window)])
    once = merged(stored, window, answer)
    assert merged(once, window, answer) == once


@given(copies, copies, some.fetch_windows)
@example([(HistoryRow(run_id="run", step=-1), True)], [], FetchWindow(stop=3))
@example([(HistoryRow(run_id="run"), True)], [], FetchWindow(stop=0))
def test_result_is_what_was_stored_outside_and_what_was_fetched_inside(
    held: Copies, fetched: Copies, window: FetchWindow
) -> None:
    kept = selected_lines(arrive(held))
    answer = arrive([copy for copy in fetched if inside(copy[0], window)])
    result = merged(kept, window, answer)
    expected = [line for line in kept if not inside(decode_row(line).unwrap(), window)]
    assert sorted(result) == sorted([*expected, *selected_lines(answer)])
    assert result == sorted(result, key=stored_order)


@given(copies, copies, copies, st.integers(0, 6), st.integers(0, 3), st.integers(0, 3))
def test_fetches_of_disjoint_windows_commute(
    held: Copies, first: Copies, second: Copies, start: int, width: int, gap: int
) -> None:
    stored = selected_lines(arrive(held))
    low = FetchWindow(start=start or None, stop=start + width)
    high = FetchWindow(start=start + width + gap or 1, stop=None)
    below = arrive([copy for copy in first if inside(copy[0], low)])
    above = arrive([copy for copy in second if inside(copy[0], high)])
    if start + width + gap == 0:
        below = []
    one = merged(merged(stored, low, below), high, above)
    other = merged(merged(stored, high, above), low, below)
    assert one == other


@given(copies, some.selections)
def test_rows_are_ordered_by_step_timestamp_and_bytes(
    fetched: Copies, selection: HistorySelection
) -> None:
    lines = selected_lines(arrive(fetched), selection)
    assert lines == sorted(lines, key=stored_order)


# --- the tally


def tally(arrived: list[ReceivedRow], mark: int | None = None) -> Received:
    count = Tally(mark)
    for row in arrived:
        count.add(row)
    return count.received()


@given(copies, st.none() | st.integers(-1, 9))
def test_tally_counts_rows_before_selection(fetched: Copies, mark: int | None) -> None:
    arrived = arrive(fetched)
    result = tally(arrived, mark)
    steps = [row.step for row, _ in fetched if row.step is not None]
    assert result.rows == len(arrived)
    assert result.last_step == max(steps, default=None)
    at_last = [row for row in arrived if row.key[1] == result.last_step and not row.key[0]]
    assert result.boundary_rows == len(at_last)
    assert result.without_step == sum(row.key[0] for row in arrived)
    if steps:
        assert result.last_timestamp in {row.timestamp for row in at_last}
    if mark is not None:
        assert result.rows_at == sum(row.step == mark for row in arrived)
        below = [row for row in arrived if row.step is None or row.step < mark]
        assert result.rows_below == len(below)


@given(st.lists(st.integers(0, 9), unique=True).map(sorted), st.none() | st.integers(-1, 10))
def test_rising_rows_are_counted_as_any_others(steps: list[int], mark: int | None) -> None:
    rows = encode_rows([HistoryRow(run_id="run", step=step, timestamp=str(step)) for step in steps])
    count = Tally(mark)
    count.add_rising(rows)
    assert count.received() == tally(list(rows.rows(live=True)), mark)


# --- snapshots


created = st.none() | some.times | some.datetimes.map(lambda moment: moment.isoformat())


@given(st.lists(st.tuples(some.good_times | st.datetimes().map(str), some.run_ids), max_size=6))
def test_snapshots_are_ordered_by_the_instant_of_creation_then_the_id(
    runs: list[tuple[str, str]],
) -> None:
    known = [(normalize_time(created_at), run_id) for created_at, run_id in runs]
    ordered = sorted(known, key=lambda run: snapshot_order(*run), reverse=True)
    for before, after in pairwise(ordered):
        first, second = instant(before[0]), instant(after[0])
        assert first is not None
        assert second is not None
        assert first >= second
        if before[0] == after[0]:
            assert before[1] >= after[1]


@given(st.lists(st.tuples(created, some.run_ids), max_size=6))
@example([("2024-01-02T00:00:00Z", "a"), ("2024-01-02T00:00:00.5Z", "a")])
def test_sort_key_of_a_snapshot_gives_the_order_of_the_file(
    runs: list[tuple[str | None, str]],
) -> None:
    snapshots = [
        RunSnapshot(
            run=WandbRun(
                run_id=run_id,
                name=run_id,
                entity="team",
                project="project",
                created_at=normalize_time(created_at),
            ),
            exported_at="",
        )
        for created_at, run_id in runs
    ]
    by_key = sorted(snapshots, key=lambda snapshot: snapshot.sort_key)
    by_order = sorted(
        snapshots, key=lambda snapshot: snapshot_order(snapshot.run.created_at, snapshot.run.run_id)
    )
    assert [snapshot.run for snapshot in by_key] == [snapshot.run for snapshot in by_order]
