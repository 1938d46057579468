"""Some runs are loaded without the others: what is read, what is refused, and copies of exports."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from dr_wandb import (
    DrWandbError,
    ExportNotFoundError,
    ExportStore,
    HistoryRow,
    InvalidRequestError,
    iter_history_rows,
)
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_files import remember_look
from tests.support import syncing
from tests.support.checkout import ROOT
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

RUNS = ("sweep0a", "sweep1a", "sweep2a")
ROWS = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an export of three runs with rows, and one without."""
    source = MemorySource()
    for run_id in RUNS:
        source.add_run(run_id)
        for step in range(ROWS):
            source.log(run_id, {"loss": step / 3, **({"name": run_id} if step % 10 == 0 else {})})
    source.add_run("empty")
    syncing.sync(source, tmp_path)
    return tmp_path / NAME


def load(
    folder: Path, run_ids: Iterable[str] | None = None, keys: Iterable[str] | None = None
) -> list[HistoryRow]:
    return list(iter_history_rows(NAME, folder.parent, run_ids=run_ids, keys=keys))


def of_run(folder: Path, *run_ids: str) -> list[HistoryRow]:
    return [row for row in iter_history_rows(NAME, folder.parent) if row.run_id in run_ids]


def accept_look(folder: Path) -> None:
    """Let the files count as those of the last sync, whatever is in them."""
    changes = json.loads((folder / CHANGES_OF_STORE_FILE).read_bytes())
    changes["store"] = hashlib.sha256((folder / STORE_FILE).read_bytes()).hexdigest()
    (folder / CHANGES_OF_STORE_FILE).write_text(json.dumps(changes))
    remember_look(folder, {**changes["state"]["files"], STORE_FILE: changes["store"]})


def damage_rows(folder: Path, run_id: str) -> None:
    """Make the rows of a run unreadable in a file of the same size."""
    history = folder / "history.jsonl"
    lines = history.read_bytes().splitlines(keepends=True)
    wanted = f'"run_id":"{run_id}"'.encode()
    history.write_bytes(
        b"".join(b"x" * (len(line) - 1) + b"\n" if wanted in line else line for line in lines)
    )


# --- what is loaded


def test_rows_of_one_run_and_of_several_come_in_stored_order(folder: Path) -> None:
    assert load(folder, ["sweep1a"]) == of_run(folder, "sweep1a")
    assert load(folder, ("sweep2a", "sweep0a", "sweep2a")) == of_run(folder, "sweep0a", "sweep2a")
    assert len(load(folder, (run_id for run_id in RUNS))) == 3 * ROWS


def test_text_is_one_run_or_one_key(folder: Path) -> None:
    assert load(folder, "sweep1a") == of_run(folder, "sweep1a")
    assert [row.metrics for row in load(folder, "sweep1a", "name")] == [{"name": "sweep1a"}] * 3


def test_no_run_and_no_key_give_no_row_and_a_run_without_rows_none(folder: Path) -> None:
    assert load(folder, []) == []
    assert load(folder, keys=()) == []
    assert load(folder, ["empty"]) == []


def test_keys_select_rows_and_their_metrics_as_a_history_key_does(folder: Path) -> None:
    rows = load(folder, keys=["name"])
    assert [(row.run_id, row.step) for row in rows] == [
        (run_id, step) for run_id in RUNS for step in (0, 10, 20)
    ]
    assert {*rows[0].metrics} == {"name"}
    assert len(load(folder, keys=["loss", "name"])) == 3 * ROWS
    assert load(folder, keys=["Loss"]) == []


def test_store_loads_rows_of_a_run_too(folder: Path) -> None:
    store = ExportStore(name=NAME, data_root=folder.parent)
    assert list(store.iter_history_rows(run_ids=["sweep0a"])) == of_run(folder, "sweep0a")


def test_metadata_export_has_runs_without_rows(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path, mode="metadata")
    assert load(tmp_path / NAME, ["a"]) == []
    with pytest.raises(InvalidRequestError, match="has no run 'b'"):
        load(tmp_path / NAME, ["b"])


EARLIER = sorted(path.parent for path in (ROOT / "fixtures" / "exports").rglob("manifest.json"))


@pytest.mark.parametrize("export", EARLIER, ids=lambda path: "/".join(path.parts[-2:]))
def test_each_run_of_an_export_of_an_earlier_version_has_its_rows(export: Path) -> None:
    store = ExportStore(name=export.name, data_root=export.parent)
    rows = list(store.iter_history_rows())
    for snapshot in store.load_run_snapshots():
        run_id = snapshot.run.run_id
        own = [row for row in rows if row.run_id == run_id]
        assert list(store.iter_history_rows(run_ids=[run_id])) == own


# --- what is read


def test_rows_of_other_runs_are_not_read(folder: Path) -> None:
    expected = of_run(folder, "sweep1a")
    damage_rows(folder, "sweep0a")
    accept_look(folder)
    assert load(folder, ["sweep1a"]) == expected
    with pytest.raises(DrWandbError, match=r"history\.jsonl line 1 cannot be read"):
        load(folder)


def test_tracking_of_other_runs_is_not_read(folder: Path) -> None:
    expected = of_run(folder, "sweep1a")
    damage_rows(folder, "sweep0a")
    with closing(sqlite3.connect(folder / STORE_FILE)) as store:
        store.execute(
            "UPDATE tracking SET form = 'x' WHERE id ="
            " (SELECT id FROM run WHERE run_id = 'sweep0a')"
        )
        store.commit()
    accept_look(folder)
    assert load(folder, ["sweep1a"]) == expected


def test_byte_range_with_another_digest_is_not_believed(folder: Path) -> None:
    """The file is one that the last sync may have written, as far as its size and times say."""
    damage_rows(folder, "sweep1a")
    accept_look(folder)
    with pytest.raises(DrWandbError, match=rf"history\.jsonl line {ROWS + 1} cannot be read"):
        load(folder, ["sweep1a"])


def test_state_whose_ranges_do_not_fill_the_file_is_not_believed(folder: Path) -> None:
    expected = of_run(folder, "sweep1a")
    with closing(sqlite3.connect(folder / STORE_FILE)) as store:
        store.execute("DELETE FROM extent WHERE rows = 30")
        store.execute("UPDATE tracking SET form = replace(form, '\"stored\"', '\"forgotten\"')")
        store.commit()
    accept_look(folder)
    assert load(folder, ["sweep1a"]) == expected


WAYS_TO_BREAK_A_STORE = {
    "no table of runs": "DROP TABLE run",
    "no table of lengths": "DROP TABLE extent",
    "no tracking": "DELETE FROM tracking",
    "no JSON": "UPDATE tracking SET form = 'x'",
    "no table of rests": "DROP TABLE rest",
    "no JSON of rests": "INSERT INTO rest VALUES (1000, 'x')",
    "a run twice": "INSERT INTO run SELECT id + 1000, run_id, created_at, rest FROM run",
}


@pytest.mark.parametrize("way", WAYS_TO_BREAK_A_STORE)
def test_store_that_does_not_read_costs_time_and_no_row(way: str, folder: Path) -> None:
    expected = of_run(folder, "sweep1a")
    with closing(sqlite3.connect(folder / STORE_FILE)) as store:
        store.execute(WAYS_TO_BREAK_A_STORE[way])
        store.commit()
    accept_look(folder)
    assert load(folder, ["sweep1a"]) == expected
    with pytest.raises(InvalidRequestError, match="has no run 'b'"):
        load(folder, ["b"])


def test_copy_of_an_export_is_read_once_by_a_process(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times are not those that were recorded, so only its digest says that it is the same."""
    copy = tmp_path / "copy" / NAME
    shutil.copytree(folder, copy)
    read: list[str] = []

    def read_whole(path: Path) -> str:
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(disk, "sha256_of", read_whole)
    for run_id in RUNS:
        assert load(copy, [run_id]) == of_run(folder, run_id)
    assert read.count("history.jsonl") == 1
    with (copy / "history.jsonl").open("ab") as stream:
        stream.write(b'{"run_id":"sweep0a","step":30}\n')
    assert load(copy, ["sweep0a"])[-1] == HistoryRow(run_id="sweep0a", step=30)


def test_line_that_does_not_read_is_named_by_its_number_in_the_file(folder: Path) -> None:
    """Even if the state says that it is as it was written. Others that do not read are not met."""
    damage_rows(folder, "sweep1a")
    content = (folder / "history.jsonl").read_bytes()
    own = b"".join(line for line in content.splitlines(keepends=True) if line.startswith(b"x"))
    damage_rows(folder, "sweep0a")
    digest = hashlib.blake2b(own, digest_size=16).hexdigest()
    with closing(sqlite3.connect(folder / STORE_FILE)) as store:
        [(number, form)] = store.execute(
            "SELECT id, form FROM run JOIN tracking USING (id) WHERE run_id = 'sweep1a'"
        )
        tracking = json.loads(form)
        tracking["parts"]["history"]["stored"]["digest"] = digest
        edited = json.dumps(tracking).encode()
        store.execute("UPDATE tracking SET form = ? WHERE id = ?", (edited, number))
        store.commit()
    accept_look(folder)
    with pytest.raises(DrWandbError, match=rf"history\.jsonl line {ROWS + 1} cannot be read"):
        load(folder, ["sweep1a"])


# --- what is refused, at the call


def test_unknown_runs_are_refused_at_the_call_with_similar_ids(folder: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        iter_history_rows(NAME, folder.parent, run_ids=["sweep1a", "sweep9a", "x"])
    assert caught.value.problems == (
        f"{folder} has no run 'sweep9a'; did you mean sweep2a, sweep1a or sweep0a?",
        f"{folder} has no run 'x'",
    )


def test_of_many_unknown_runs_ten_are_named(folder: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        load(folder, (f"run {number:02}" for number in range(25)))
    assert len(caught.value.problems) == 11
    assert caught.value.problems[-1] == f"{folder} has none of 15 more of these runs"


def test_run_that_only_the_history_names_is_known(folder: Path) -> None:
    history = folder / "history.jsonl"
    history.write_bytes(history.read_bytes().replace(b'"sweep1a"', b'"another"'))
    assert len(load(folder, ["another"])) == ROWS
    assert load(folder, ["sweep1a"]) == []


NOTHING: dict[str, Callable[[Path], object]] = {
    "run_ids": lambda folder: load(folder, [" "]),
    "a history key": lambda folder: load(folder, keys=["loss", ""]),
}


@pytest.mark.parametrize("what", NOTHING)
def test_blank_id_and_blank_key_are_refused(what: str, folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^{what} must not .*blank"):
        NOTHING[what](folder)


def test_export_that_is_not_there_is_named_first(tmp_path: Path) -> None:
    with pytest.raises(ExportNotFoundError):
        iter_history_rows("nothing", tmp_path, run_ids=["a"])
