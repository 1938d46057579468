"""Law of loading some runs: they have the rows that a read of the whole file gives for them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from dr_wandb import DrWandbError, HistoryRow, iter_history_rows
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.shell.store.checked_files import CHECKED_FILE
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import as_if_large, edit_state
from tests.support.syncing import NAME

RUNS = ("a", "b", "c", "d")
Lines = list[bytes]
LINE = b'{"metrics":{"loss":0.5},"run_id":"b","step":9}\n'


def log(source: MemorySource, run_id: str, rows: int) -> None:
    for number in range(rows):
        source.log(run_id, {"loss": number / 3, "name": run_id, "odd": float("nan")})


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one export after two syncs, and `earlier`, as it was after the first."""
    folder = tmp_path_factory.mktemp("exports")
    source = MemorySource()
    for number, run_id in enumerate(RUNS):
        source.add_run(run_id)
        log(source, run_id, 5 * number)  # the first has no rows
    with as_if_large():
        syncing.sync(source, folder)
        shutil.copytree(folder / NAME, folder / "earlier")
        source.advance(60)
        log(source, "b", 40)
        syncing.sync(source, folder)
    return folder


# --- what may become of an export


def of_file(change: Callable[[Lines], Lines]) -> Callable[[Path, Path], object]:
    def edit(export: Path, _earlier: Path) -> None:
        history = export / "history.jsonl"
        lines = history.read_bytes().splitlines(keepends=True)
        history.write_bytes(b"".join(change(lines)))

    return edit


def take_from(*names: str) -> Callable[[Path, Path], object]:
    def put(export: Path, earlier: Path) -> None:
        for name in names:
            shutil.copy(earlier / name, export / name)

    return put


def remove(*names: str) -> Callable[[Path, Path], object]:
    def unlink(export: Path, _earlier: Path) -> None:
        for name in names:
            (export / name).unlink(missing_ok=True)

    return unlink


def other_run(line: bytes) -> bytes:
    return line.replace(b'"run_id":"d"', b'"run_id":"b"')


def forget_ranges(state: Any) -> None:
    for run in state["runs"].values():
        run.pop("parts", None)


def shift_ranges(state: Any) -> None:
    for run in state["runs"].values():
        for part in run.get("parts", {}).values():
            if part.get("stored"):
                part["stored"]["offset"] += 1


HIDDEN = (STORE_FILE, CHANGES_OF_STORE_FILE, CHECKED_FILE)

HAPPENINGS: dict[str, Callable[[Path, Path], object]] = {
    "nothing": lambda export, earlier: None,
    "no hidden file": remove(*HIDDEN),
    "no store": remove(STORE_FILE),
    "no changes of the store": remove(CHANGES_OF_STORE_FILE),
    "no digests of files": remove(CHECKED_FILE),
    "no state": remove("state.json"),
    "no snapshots": remove("runs.jsonl"),
    "neither": remove("runs.jsonl", "state.json"),
    "a torn state": lambda export, _: (export / "state.json").write_bytes(b'{"schema'),
    "a torn store": lambda export, _: (export / STORE_FILE).write_bytes(b"SQLite format 3"),
    "an earlier state": take_from("state.json"),
    "all of an earlier state": take_from("state.json", *HIDDEN),
    "an earlier history": take_from("history.jsonl"),
    "a state in one file": lambda export, _: edit_state(export, lambda state: None),
    "ranges forgotten": lambda export, _: edit_state(export, forget_ranges),
    "ranges shifted": lambda export, _: edit_state(export, shift_ranges),
    "a row more": of_file(lambda lines: [*lines, LINE]),
    "a row fewer": of_file(lambda lines: lines[1:]),
    "rows turned round": of_file(lambda lines: lines[::-1]),
    "a row of another run": of_file(lambda lines: [*lines[:-1], *map(other_run, lines[-1:])]),
    "another value": of_file(lambda lines: [line.replace(b"0.333", b"0.334") for line in lines]),
    "NaN as 3.0.3 writes it": of_file(
        lambda lines: [line.replace(b'"NaN"', b"NaN") for line in lines]
    ),
    "a damaged line": of_file(lambda lines: [*lines[:-3], b"{\n", *lines[-3:]]),
    "no row": of_file(lambda lines: []),
    "a row without its end": of_file(
        lambda lines: [*lines[:-1], *(line[:-1] for line in lines[-1:])]
    ),
    "no history": remove("history.jsonl"),
}


def outcome(read: Callable[[], Iterator[HistoryRow]]) -> Iterator[HistoryRow | str]:
    """Give rows, and last the text of an error that ends them."""
    try:
        yield from read()
    except DrWandbError as error:
        yield str(error)


@given(
    st.lists(st.sampled_from(sorted(HAPPENINGS)), min_size=1, max_size=2),
    st.sets(st.sampled_from(RUNS)),
    st.none() | st.lists(st.sampled_from(["loss", "name", "_step", "none"]), max_size=2),
)
@example(["nothing"], {"b"}, None)
@example(["no digests of files"], {"c"}, None)
@example(["a row of another run"], {"b"}, None)
@example(["all of an earlier state"], {"b"}, ["loss"])
@example(["ranges shifted"], {"d"}, None)
@example(["ranges forgotten"], {"b"}, None)
@example(["no row", "a row of another run"], {"b"}, None)
@example(["a torn state", "ranges forgotten"], {"b"}, None)
@example(["a damaged line", "neither"], {"b"}, None)
def test_rows_of_some_runs_are_those_in_the_whole_file(
    exports: Path, happenings: list[str], run_ids: set[str], keys: list[str] | None
) -> None:
    with TemporaryDirectory() as folder:
        data_root = Path(folder)
        shutil.copytree(exports / NAME, data_root / NAME)
        for happening in happenings:
            try:
                HAPPENINGS[happening](data_root / NAME, exports / "earlier")
            except (AssertionError, FileNotFoundError, DrWandbError):
                event("the second one does not go with the first")
        every = list(outcome(lambda: iter_history_rows(NAME, data_root)))
        held = {row.run_id for row in every if isinstance(row, HistoryRow)}
        if not run_ids <= held:
            event("some of the runs have no rows, or are not there any more")
            run_ids = run_ids & held
        rows = outcome(lambda: iter_history_rows(NAME, data_root, run_ids=run_ids, keys=keys))
        selection = HistorySelection(keys=tuple(keys or ()))
        expected = [
            row if isinstance(row, str) else select_row(row, selection)
            for row in every
            if isinstance(row, str) or row.run_id in run_ids
        ]
        if not run_ids or keys == []:
            expected = []
        export = data_root / NAME
        if run_ids and not any((export / name).exists() for name in ("state.json", "runs.jsonl")):
            # Nothing else names the runs, so all lines are read for it: damage is found first.
            expected = [row for row in every if isinstance(row, str)] or expected
        assert list(rows) == [row for row in expected if row is not None]


def test_happenings_leave_rows_of_each_run(exports: Path) -> None:
    """Otherwise the law would say little."""
    rows = list(iter_history_rows(NAME, exports))
    assert {row.run_id for row in rows} == {"b", "c", "d"}
    assert len(rows) == 45 + 10 + 15
    earlier = (exports / "earlier" / "history.jsonl").read_bytes()
    assert len(earlier) < (exports / NAME / "history.jsonl").stat().st_size
