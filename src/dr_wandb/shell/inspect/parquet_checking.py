"""One pass over the Parquet files of an export that finds all their problems.

Rules
- A file is decoded only if it has the SHA-256 in the manifest, and a problem of one file does not
  keep the others from being checked.
- Rows that are nowhere else are turned into lines and checked as those of `history.jsonl`. Of other
  rows the digest of the lines is enough.
- Memory is bounded by a part of a run, and one value per run.
"""

from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from msgspec.structs import replace

from dr_wandb.core.columnar.digest import contents_digest, pack_digest, run_digest
from dr_wandb.core.contract.dataset import TABLES
from dr_wandb.core.contract.export_files import (
    PARQUET_FOLDERS,
    PARQUET_HISTORY,
    PARQUET_RUNS,
    is_parquet,
    is_parquet_history,
    is_table,
)
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import FIRST_WITH_CELLS
from dr_wandb.core.inspect.audit import StoredRun
from dr_wandb.core.inspect.columns import (
    ColumnsPart,
    problem_of_parts,
)
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.verify import FindingKind, Findings
from dr_wandb.shell.inspect.parquet_rows import RowsInColumns
from dr_wandb.shell.inspect.table_rows import TableRows
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_parquet import DescribedFile, history_file, reading
from dr_wandb.shell.store.parquet_files import read_runs


class ParquetChecking:
    """Checks the Parquet files that a manifest names.

    arrived: called with the number of bytes of each file. `seen` has the files that were read, None
    for a missing one; `parts` the rows of each run, `tables` those of other datasets.
    """

    def __init__(
        self,
        folder: Path,
        manifest: ExportManifest,
        findings: Findings,
        arrived: Callable[[int], None],
    ) -> None:
        self._folder = folder
        self._files = manifest.files
        self._in_cells = manifest.schema_version >= FIRST_WITH_CELLS
        self._findings = findings
        self._arrived = arrived
        self.seen: dict[str, DataFile | None] = {}
        self.parts: dict[str, ColumnsPart] = {}
        self.tables: dict[str, dict[str, ColumnsPart]] = {dataset: {} for dataset in TABLES}

    def found(self) -> list[str]:
        """Return everything in the folders of Parquet files, by its path in the export."""
        paths = (path for name in PARQUET_FOLDERS for path in _inside(self._folder / name))
        names = (path.relative_to(self._folder).as_posix() for path in paths)
        return [name for name in names if name not in PARQUET_FOLDERS]

    def check_quickly(self) -> None:
        """Check the size and the digest of each file."""
        for name in self._names():
            self._is_as_stated(name)

    def check(
        self, runs: Mapping[str, StoredRun], rules: RowRules | None, run_ids: Container[str]
    ) -> None:
        """Check each file and the rows in it.

        runs: those in `runs.jsonl`, none if that is damaged. rules: what each row must be like;
        None if the rows were checked elsewhere. run_ids: the runs that rows may belong to.
        """
        history: dict[str, list[DescribedFile]] = {}
        for name in self._names():
            if not self._is_as_stated(name):
                continue
            if name == PARQUET_RUNS:
                self._check_runs(name, [*runs])
            elif is_table(name):
                self._check_table(name, runs)
            else:
                file = history_file(self._folder, name, self._files[name])
                history.setdefault(file.digest or name, []).append(file)
        named = self._parts_of_runs()
        for parts in named.values():
            problem = problem_of_parts(parts)
            if problem is not None:
                self._say(min(parts), problem)
        for home, files in history.items():
            rows = RowsInColumns(self._findings, runs, rules, run_ids)
            rows.whole = len(files) == len(named.get(home, files))
            for file in sorted(files, key=lambda file: file.number):
                self._check_rows(file, rows)
            self._take(rows.finish(), self.parts)

    def _names(self) -> Iterator[str]:
        return filter(is_parquet, sorted(self._files))

    def _parts_of_runs(self) -> dict[str, list[str]]:
        """Return the names of the own files of each run that has any, by the digest of the run."""
        found: dict[str, list[str]] = {}
        for name in filter(is_parquet_history, self._files):
            digest = history_file(self._folder, name, self._files[name]).digest
            if digest:
                found.setdefault(digest, []).append(name)
        return found

    def _is_as_stated(self, name: str) -> bool:
        """Read a file, and say whether it is the one that the manifest describes."""
        path, stated = self._folder / name, self._files[name]
        for part in (*path.parents[: name.count("/")], path):
            if part.is_symlink():
                self._say(name, f"{part.name} is a link, which is not followed")
                return False
        try:
            size, sha256 = path.stat().st_size, disk.sha256_of(path)
        except FileNotFoundError:
            self.seen[name] = None
            return False
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            self._findings.add(FindingKind.REFUSED, name, problem)
            return False
        self._arrived(size)
        self.seen[name] = replace(stated, bytes=size, sha256=sha256)
        return (size, sha256) == (stated.bytes, stated.sha256)

    def _check_runs(self, name: str, expected: list[str]) -> None:
        """Check that the runs in a file are those of `runs.jsonl`, in its order."""
        file = DescribedFile(self._folder / name, self._files[name])
        run_ids: list[Any] = []
        try:
            with reading(file), pq.ParquetFile(file.path, pre_buffer=False) as opened:
                for batch in opened.iter_batches(1 << 10, use_threads=False):
                    run_ids += batch.column("run_id").to_pylist()
        except DrWandbError as error:
            self._add_failure(name, error)
            return
        self.seen[name] = replace(self._files[name], lines=len(run_ids))
        if expected and run_ids != expected:
            self._say(name, "does not have the runs of runs.jsonl in their order")

    def _check_table(self, name: str, runs: Mapping[str, StoredRun]) -> None:
        """Check the rows of a file of a table."""
        file = DescribedFile(self._folder / name, self._files[name])
        dataset = file.path.parent.name
        rows = TableRows(dataset, name, partial(self._say, name))
        try:
            with reading(file):
                rows.read(file.path, runs)
        except DrWandbError as error:
            self._add_failure(name, error)
            return
        self.seen[name] = replace(self._files[name], lines=rows.rows, contents=rows.contents)
        self._take(rows.parts, self.tables[dataset])

    def _check_rows(self, file: DescribedFile, rows: "RowsInColumns") -> None:
        """Check the rows of a file, which are those of a pack or a part of one run."""
        name = f"{PARQUET_HISTORY}/{file.path.name}"
        before = rows.lines
        digests: list[tuple[str, str]] = []
        contents, last = "", None
        try:
            with reading(file):
                for run_id, batch in read_runs(file.path):
                    if last is not None and run_id <= last:
                        self._say(name, f"has run {run_id!r}, which is not in order")
                    last = run_id
                    contents = contents_digest(batch)
                    of_lines = rows.add(name, file, run_id, batch, contents)
                    of_cells = run_digest([contents])
                    digests.append((run_id, of_cells if self._in_cells else of_lines))
        except DrWandbError as error:
            self._add_failure(name, error)
            rows.whole = False
            return
        if file.digest and len(digests) != 1:
            self._say(name, "has several runs, and should have a part of one")
        found = contents if file.digest else pack_digest(digests)
        self.seen[name] = replace(self._files[name], lines=rows.lines - before, contents=found)

    def _take(self, found: Mapping[str, ColumnsPart], parts: dict[str, ColumnsPart]) -> None:
        for run_id, part in found.items():
            if run_id in parts:
                self._say(part.file, f"has run {run_id!r}, as {parts[run_id].file} has")
            else:
                parts[run_id] = part

    def _add_failure(self, name: str, error: DrWandbError) -> None:
        failure = error.failure
        if isinstance(failure, DamagedFile):
            self._say(name, f"cannot be read: {failure.reason}")
        else:
            self._findings.add(FindingKind.REFUSED, name, str(error).splitlines()[0])

    def _say(self, name: str, problem: str) -> None:
        self._findings.add(FindingKind.COLUMNS, name, problem)


def _inside(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())
