"""Syncs that are stopped, and what must be so after one more."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import filterfalse
from pathlib import Path
from typing import Any

import pytest

from dr_wandb import (
    DrWandbError,
    iter_artifact_entries,
    iter_artifacts,
    iter_console_lines,
    iter_files,
    iter_history_rows,
    iter_reports,
    iter_sweeps,
    iter_system_samples,
    load_manifest,
    load_run_snapshots,
    open_blob,
)
from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.export_files import BLOBS_FOLDER, is_parquet, is_table
from dr_wandb.core.contract.failures import DiskRefused, Unfinished
from dr_wandb.core.contract.row_forms import decode_run_file
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER
from dr_wandb.shell.store.fetched_blobs import NOTES_FILE
from dr_wandb.shell.store.sorting import ExternalSorter
from dr_wandb.shell.store.tables import FORMS, read_table
from tests.support import parquet_exports, syncing
from tests.support.checkout import EXPORT_OF_3_0_3
from tests.support.exporting_source import ExportingSource
from tests.support.memory_source import MemorySource
from tests.support.operations import Stopped
from tests.support.syncing import ALWAYS_THERE, NAME, SOMETIMES_THERE, select

Happening = Callable[[MemorySource], None]


def project() -> MemorySource:
    """A finished run, one that grows, one that is partly exported, one without rows."""
    source = MemorySource()
    for run_id, rows in (("done", 4), ("grows", 5), ("parquet", 7), ("empty", 0)):
        source.add_run(run_id, tags=["x"], metadata={"host": run_id})
        for number in range(rows):
            source.log(run_id, {"loss": number / 3, "text": "ü\u2028"})
        source.advance(60)
    source.finish("done")
    source.export("parquet", 5, overlap=1)
    return source


def exported_project() -> ExportingSource:
    """The same, but the rows of most runs come in files."""
    source = ExportingSource(parts=2)
    source.runs, source.now = project().runs, project().now
    for run_id in ("done", "grows"):
        source.export(run_id)
    return source


def project_of_3_0_3() -> MemorySource:
    """What W&B still has of the project of the fixture: one run of it is gone."""
    source = MemorySource(entity="old-lab", project="old-runs", now="2026-02-01T08:00:00+00:00")
    source.kind = "api"  # where 3.0.3 had its rows from
    for run_id, rows in (("done0001", 13), ("dense001", 10), ("live0001", 8), ("new00001", 1)):
        source.add_run(run_id)
        for number in range(rows):
            source.log(run_id, {"loss": number / 3})
        source.advance(86400)
    return source


def log_on(source: MemorySource) -> None:
    source.advance(600)
    source.log("grows", {"loss": 7.5})
    source.log("empty", {"loss": 8.5})
    source.rewind("parquet", 3)
    source.log("parquet", {"loss": 9.5})
    source.add_run("new")
    source.log("new", {"loss": 10.5})


def project_with_consoles(most: int = 700) -> MemorySource:
    """The same project, whose programs have printed much, little, or nothing."""
    source = project()
    for run_id, lines in (("done", 4), ("grows", most), ("parquet", 1)):
        for number in range(lines):
            source.write_line(run_id, f"line {number} ü\u2028", error=number % 3 == 0)
            if number < 5:
                source.sample(run_id, cpu=number / 3)
    return source


def project_with_short_consoles() -> MemorySource:
    return project_with_consoles(most=20)


def print_on(source: MemorySource) -> None:
    log_on(source)
    source.runs["grows"].console[-10]["line"] = "100 %"
    for run_id in ("grows", "empty", "new"):
        source.write_line(run_id, "more")
        source.sample(run_id, gpu=7)


def project_with_files() -> MemorySource:
    """The same project, whose runs have files, some with the same bytes."""
    source = project()
    for run_id, size in (("done", 10), ("grows", 3000), ("parquet", 1500)):
        source.put_file(run_id, "requirements.txt", b"wandb\n")
        source.put_file(run_id, f"media/{run_id}.bin", run_id.encode() * size)
    source.put_file("grows", "output.log", b"one\n")
    return source


def change_files(source: MemorySource) -> None:
    log_on(source)
    source.put_file("grows", "output.log", b"one\ntwo\n")
    source.put_file("done", "media/late.bin", b"late" * 900)
    source.put_file("new", "requirements.txt", b"wandb\n")


def delete_one(source: MemorySource) -> None:
    source.advance(600)
    source.delete("done")
    source.log("grows", {"loss": 7.5})


def make_anew(source: MemorySource) -> None:
    source.advance(600)
    for run_id in ("done", "empty"):
        source.delete(run_id)
        source.add_run(run_id, tags=["anew"])
        source.log(run_id, {"loss": 0.25})
    source.log("grows", {"loss": 7.5})


def make_anew_in_another_month(source: MemorySource) -> None:
    delete_one(source)
    source.delete("parquet")
    source.add_run("parquet", created_at="2020-03-04T00:00:00Z")
    source.log("parquet", {"loss": 0.25})
    source.write_line("parquet", "anew")


def log_out_of_order(source: MemorySource) -> None:
    log_on(source)
    for step in (40, 30, 35, 20, 45, 25):
        source.log("grows", {"loss": step / 7}, step=step)


def project_with_records() -> MemorySource:
    source = project()
    source.records["sweeps"] = [{"name": name, "config": "lr: 1e-3\n"} for name in "abc"]
    source.records["reports"] = [{"id": name, "spec": "{}"} for name in "defg"]
    for collection in ("data", "model", "shelf"):
        for _ in range(2):
            source.make("grows", source.add_version(collection))
    source.use("done", "data-0", "training")
    return source


def change_records(source: MemorySource) -> None:
    log_on(source)
    source.records["sweeps"] = [{"name": name, "config": "lr: 2e-3\n"} for name in "abx"]
    source.records["reports"] = [{"id": name, "spec": "{}"} for name in "efgh"]
    del source.collections["shelf"]
    source.make("new", source.add_version("data"))
    source.use("done", "model-1", "eval")


def project_with_everything() -> MemorySource:
    """The same project with all of that."""
    source = project_with_records()
    for other in (project_with_consoles(), project_with_files()):
        for run_id, run in other.runs.items():
            for name in ("console", "samples", "files", "file_facts"):
                if found := getattr(run, name):
                    setattr(source.runs[run_id], name, found)
    return source


def change_everything(source: MemorySource) -> None:
    print_on(source)
    source.put_file("grows", "output.log", b"one\ntwo\n")
    source.put_file("done", "media/late.bin", b"late" * 900)
    source.put_file("new", "requirements.txt", b"wandb\n")
    source.records["sweeps"] = [{"name": name, "config": "lr: 2e-3\n"} for name in "abx"]
    source.make("new", source.add_version("data"))


def only_the_clock(source: MemorySource) -> None:
    source.advance(600)


@dataclass(frozen=True)
class Scenario:
    """What went well, what happened since, and the sync that is stopped.

    before: requests of syncs, and what happened between them. spills: the sync that is stopped
    holds so few rows in memory that each run's rows are sorted on disk. most_cells: the limit of
    Parquet files, so that runs of a few rows have several.
    """

    before: tuple[Mapping[str, Any] | Happening, ...]
    happens: Happening
    request: dict[str, Any] = field(default_factory=dict)
    make: Callable[[], MemorySource] = project
    fixture: Path | None = None
    spills: bool = False
    most_cells: int | None = None

    def begin(self, data_root: Path) -> MemorySource:
        with parquet_exports.small_files(self.most_cells):
            return self._begin(data_root)

    def _begin(self, data_root: Path) -> MemorySource:
        source = self.make()
        if self.fixture is not None:
            shutil.copytree(self.fixture, data_root / NAME)
        for step in self.before:
            if isinstance(step, Mapping):
                syncing.sync(source, data_root, **step)
            else:
                step(source)
        self.happens(source)
        return source

    def sync(self, source: MemorySource, data_root: Path) -> Any:
        names = {"entity": source.entity, "project": source.project}
        request = syncing.request_for(data_root, **names, **self.request)
        with (
            pytest.MonkeyPatch.context() as patch,
            parquet_exports.small_files(self.most_cells),
        ):
            if self.spills:
                defaults = ExternalSorter.__init__.__kwdefaults__
                assert defaults is not None
                patch.setitem(defaults, "limit_bytes", 600)
            return syncing.export(source, request, now=source.now, workers=1)


BOTH = {"formats": ("jsonl", "parquet")}
ALONE = {"formats": ("parquet",)}
RECORDS = {"extra_datasets": ("artifacts", "sweeps", "reports")}
CONSOLE = {"extra_datasets": ("console",)}
FILES = {"extra_datasets": ("files",)}
EVERYTHING = {"extra_datasets": ("console", "system")}

ALL = {
    **BOTH,
    "extra_datasets": ("console", "system", "files", "artifacts", "sweeps", "reports"),
}

SCENARIOS = {
    "first export": Scenario((), only_the_clock, {"include_metadata": True}),
    "growth": Scenario(({},), log_on),
    "nothing new": Scenario(({},), only_the_clock),
    "other selection": Scenario(
        ({},), log_on, {"history_selection": select("loss", min_step=2), "allow_narrower": True}
    ),
    "metadata to history": Scenario(({"mode": "metadata"},), log_on),
    "history to metadata": Scenario(({},), log_on, {"mode": "metadata"}),
    "gone upstream": Scenario(({},), delete_one),
    "full reconcile": Scenario(({},), log_on, {"sync_mode": "full_reconcile"}),
    "mode and selection with a run gone": Scenario(
        ({"history_selection": select("loss")}, delete_one, {"mode": "metadata"}),
        log_on,
        {
            "history_selection": select("text", "loss", min_step=1, max_records=3),
            "allow_narrower": True,
        },
    ),
    "spills": Scenario(({},), log_out_of_order, spills=True),
    "made anew": Scenario(({},), make_anew),
    "first export to Parquet": Scenario((), only_the_clock, BOTH, most_cells=20),
    "growth in Parquet": Scenario((BOTH,), log_on, most_cells=20),
    "Parquet beside lines": Scenario(({},), log_on, BOTH, most_cells=20),
    "Parquet dropped": Scenario((BOTH,), log_on, {"drop_formats": ("parquet",)}, most_cells=20),
    "first export to Parquet alone": Scenario((), only_the_clock, ALONE, most_cells=20),
    "growth in Parquet alone": Scenario((ALONE,), log_on, most_cells=20),
    "first export in columns": Scenario(
        (), only_the_clock, ALONE, make=exported_project, most_cells=20
    ),
    "full reconcile in columns": Scenario(
        (ALONE,), log_on, {"sync_mode": "full_reconcile"}, make=exported_project, most_cells=20
    ),
    "lines beside Parquet": Scenario((ALONE,), log_on, BOTH, most_cells=20),
    "Parquet instead of lines": Scenario(
        ({},), log_on, {**ALONE, "drop_formats": ("jsonl",)}, most_cells=20
    ),
    "gone upstream in Parquet": Scenario((BOTH,), delete_one, {"prune": True}, most_cells=20),
    "first export with records": Scenario((), only_the_clock, RECORDS, make=project_with_records),
    "changed records": Scenario((RECORDS,), change_records, RECORDS, make=project_with_records),
    "records pruned": Scenario(
        (RECORDS,), change_records, {**RECORDS, "prune": True}, make=project_with_records
    ),
    "first export with consoles": Scenario((), only_the_clock, CONSOLE, make=project_with_consoles),
    "growth with all datasets": Scenario(
        (EVERYTHING,), print_on, EVERYTHING, make=project_with_consoles
    ),
    "growth with tables": Scenario(
        ({**EVERYTHING, **BOTH},),
        print_on,
        {**EVERYTHING, **BOTH},
        make=project_with_short_consoles,
        most_cells=20,
    ),
    "tables of a dropped dataset": Scenario(
        ({**EVERYTHING, **BOTH},),
        print_on,
        {**CONSOLE, **BOTH, "drop_datasets": ("system",)},
        make=project_with_short_consoles,
    ),
    "runs in other files of tables": Scenario(
        ({**CONSOLE, **BOTH},),
        make_anew_in_another_month,
        {**CONSOLE, **BOTH, "prune": True},
        make=project_with_short_consoles,
    ),
    "dataset dropped": Scenario(
        (EVERYTHING,),
        print_on,
        {**CONSOLE, "drop_datasets": ("system",)},
        make=project_with_consoles,
    ),
    "consoles later": Scenario(({},), print_on, CONSOLE, make=project_with_consoles),
    "consoles not asked for": Scenario((CONSOLE,), print_on, {}, make=project_with_consoles),
    "gone upstream with consoles": Scenario(
        (CONSOLE,), delete_one, {**CONSOLE, "prune": True}, make=project_with_consoles
    ),
    "first export with files": Scenario((), only_the_clock, FILES, make=project_with_files),
    "changed files": Scenario((FILES,), change_files, FILES, make=project_with_files),
    "files pruned": Scenario(
        (FILES,), change_files, {**FILES, "prune": True}, make=project_with_files
    ),
    "continued from 3.0.3": Scenario(
        (), only_the_clock, {}, make=project_of_3_0_3, fixture=EXPORT_OF_3_0_3
    ),
}

OF_EVERYTHING = {
    "first export of everything": Scenario(
        (), only_the_clock, ALL, make=project_with_everything, most_cells=20
    ),
    "growth of everything": Scenario(
        (ALL,), change_everything, ALL, make=project_with_everything, most_cells=20
    ),
}
"""All datasets in both formats. Each sync has some five hundred operations."""


def undisturbed(scenario: Scenario, data_root: Path) -> dict[str, bytes]:
    source = scenario.begin(data_root)
    scenario.sync(source, data_root)
    return syncing.visible(data_root / NAME)


def assert_loads(data_root: Path) -> None:
    """The export is there with the documented files, and they load; or there is none yet."""
    names = set(syncing.visible(data_root / NAME))
    own = {name for name in filterfalse(is_parquet, names) if not name.startswith(BLOBS_FOLDER)}
    assert own <= ALWAYS_THERE | SOMETIMES_THERE
    if load_manifest(NAME, data_root) is None:
        return
    assert names >= {"runs.jsonl"}
    load_run_snapshots(NAME, data_root)
    list(iter_history_rows(NAME, data_root))
    list(iter_console_lines(NAME, data_root))
    list(iter_system_samples(NAME, data_root))
    for name in filter(is_table, names):
        list(read_table(data_root / NAME / name, FORMS[name.split("/")[1]]))
    for one in iter_artifacts(NAME, data_root):
        assert one.entries is not None
    list(iter_artifact_entries(NAME, data_root))
    list(iter_sweeps(NAME, data_root))
    list(iter_reports(NAME, data_root))
    for file in iter_files(NAME, data_root):
        if file.sha256 is not None:
            with open_blob(NAME, data_root, file.sha256) as stream:
                assert hashlib.sha256(stream.read()).hexdigest() == file.sha256


def staged_runs(data_root: Path, dataset: str = "history") -> set[str]:
    """Return the runs of which a whole segment of a dataset lies in the staging folder."""
    staged = set()
    for path in (data_root / NAME / STAGING_FOLDER).glob("*.segment"):
        content = path.read_bytes()
        rows = json.loads(content.splitlines()[-1])["length"]
        known = json.loads(content[rows:].splitlines()[0])
        if known["dataset"] == dataset:
            staged.add(known["run"]["run_id"])
    return staged


def noted_files(data_root: Path) -> set[tuple[str, str]]:
    """Return the files whose bytes an interrupted sync has noted as fetched."""
    path = data_root / NAME / STAGING_FOLDER / NOTES_FILE
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    rows = [decode_run_file(line).value_or(None) for line in lines if line.endswith(b"\n")]
    return {(row.run_id, row.path) for row in rows if row is not None}


def assert_heals(
    scenario: Scenario, source: MemorySource, data_root: Path, expected: dict[str, bytes]
) -> None:
    """One more sync gives the bytes of the undisturbed one, and asks for nothing twice."""
    folder = data_root / NAME
    decided = (folder / RECORD_FILE).exists()
    staged = {
        (f"read_{dataset}", run_id)
        for dataset in DATASETS
        for run_id in staged_runs(data_root, dataset)
    }
    noted = noted_files(data_root)
    assert_loads(data_root)
    again = syncing.twin(source)
    summary = scenario.sync(again, data_root)
    assert syncing.visible(folder) == expected
    assert not syncing.hidden(folder) & {STAGING_FOLDER, RECORD_FILE}
    # Runs of which rows are missing are looked at in every sync: what was staged says nothing new.
    waiting = {run.run_id for run in (*summary.waiting, *summary.short)}
    reads = {f"read_{dataset}" for dataset in DATASETS}
    asked = {call[:2] for call in again.asked if call[0] in reads and call[1] not in waiting}
    if scenario.request.get("sync_mode") != "full_reconcile" or not decided:
        assert not asked & staged
    fetched = Counter(call[1:] for call in again.asked if call[0] == "fetch")
    assert not noted & fetched.keys()
    assert all(times == 1 for times in fetched.values())
    if decided and scenario.request.get("sync_mode") != "full_reconcile":
        assert not asked


def is_stopped(work: Callable[[], Any]) -> bool:
    """Do the work; say whether it was interrupted, or refused by the disk, rather than done."""
    try:
        work()
    except Stopped:
        return True
    except DrWandbError as refused:
        if isinstance(refused.failure, DiskRefused | Unfinished):
            return True
        raise
    return False
