"""One pass over the files of an export that finds all their problems.

Rules
- The visible files and the tool's memory beside them are read, and whether a sync is at work.
  Nothing is written.
- The memory may be missing, as in a copy of the visible files: the data is complete without it.
- A problem of one file does not keep the others from being checked.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dr_wandb.core.contract.dataset import DATASETS, HISTORY, PROJECT_DATASETS
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    PARQUET_FOLDER,
    RUNS_FILE,
    record_files,
)
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, NewerSchema
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import FIRST_OF_OURS, FIRST_WITH_TABLES
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.inspect.accounting import check_state
from dr_wandb.core.inspect.audit import ChangesAudit, RunsAudit, StoredRun
from dr_wandb.core.inspect.audit_records import RecordsAudit, StoredRecord
from dr_wandb.core.inspect.audit_rows import RowsAudit, StoredPart
from dr_wandb.core.inspect.columns import (
    check_columns,
    check_runs_in_columns,
    history_is_in_columns,
    holds_columns,
    in_order,
)
from dr_wandb.core.inspect.consistency import check_documents, check_manifest
from dr_wandb.core.inspect.holdings import CheckedExport
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.spelling import document_is_canonical
from dr_wandb.core.inspect.verify import FindingKind, Findings, NoteKind, VerifyReport
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.inspect.blob_checking import check_blobs, sizes_of_blobs
from dr_wandb.shell.inspect.known_rows import Everything, known_of, row_shape_of, rows_in, stored_in
from dr_wandb.shell.inspect.reading import ReadFile, read_bytes, read_lines, read_records
from dr_wandb.shell.inspect.slices import SlicedFile
from dr_wandb.shell.progress import CountedProgress, ProgressCallback
from dr_wandb.shell.store.commit import RECORD_FILE
from dr_wandb.shell.store.documents import load_document, load_state
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.guards import require_visible_file
from dr_wandb.shell.store.hashes import find_hashes
from dr_wandb.shell.store.presence import look_beside
from dr_wandb.shell.store.state_files import ReadState

if TYPE_CHECKING:
    from dr_wandb.shell.inspect.parquet_checking import ParquetChecking

_R = TypeVar("_R", ExportManifest, ReadState)

WRITTEN_BY_3_0_3 = (
    "written by dr-wandb 3.0.3, which keeps no digests: only checked that every line reads and is "
    "counted, and that every row has its run; sync once to convert it to the present form"
)


COUNTED_BY_3_0_3 = (
    "written by dr-wandb 3.0.3, which keeps no digests: its lines are only counted; sync once to "
    "convert it to the present form"
)

NOT_CHECKED = (
    "a quick check: that each line reads, its spelling and order, that each row has its run, and "
    "the byte ranges and positions in state.json were not checked; of blobs only the sizes were"
)

_DATA_FILES = (
    RUNS_FILE,
    *(dataset.file for dataset in DATASETS.values()),
    *record_files(),
    CHANGES_FILE,
)


class Checking:
    """One pass over the files of an export. every: keep all findings, not a bounded number."""

    def __init__(
        self,
        store: ExportStore,
        executor: SharedExecutor,
        progress: ProgressCallback,
        *,
        every: bool = False,
    ) -> None:
        self._store = store
        self._executor = executor
        self._every = every
        self._findings = Findings(None) if every else Findings()
        self._seen: dict[str, DataFile | None] = {}
        self._documents: dict[str, DataFile] = {}
        self._records: dict[str, dict[str, StoredRecord]] = {}
        parquet = (self._store.export_dir / PARQUET_FOLDER).rglob("*")
        sizes = map(self._size, (*_DATA_FILES, *map(str, parquet)))
        self._blobs = (0, 0)
        of_blobs = sum(sizes_of_blobs(self._store.export_dir))
        self._verified = CountedProgress(sum(sizes) + of_blobs, progress)

    def check(self) -> CheckedExport:
        """Read everything, then compare."""
        manifest, state = self._read_documents(WRITTEN_BY_3_0_3)
        runs, rows = self._read_records(manifest, state)
        rows |= self._read_columns(manifest, state, runs, rows)
        self._records = self._read_project()
        changes = ChangesAudit(self._findings)
        self._read(CHANGES_FILE, lambda path: read_lines(path, changes, self._verified.add))
        self._check_blobs(quick=False)
        self._compare(manifest, state, runs, rows)
        self._report_times(changes)
        return self._checked(manifest, state, runs, rows)

    def check_quickly(self) -> CheckedExport:
        """Check sizes, counts and digests. No line is looked at, so no content is returned."""
        manifest, state = self._read_documents(COUNTED_BY_3_0_3)
        if manifest is not None and (columns := self._columns(manifest)) is not None:
            columns.check_quickly()
            self._seen |= columns.seen
            check_columns(self._findings, manifest, columns.seen, columns.found())
        for name in _DATA_FILES:
            self._read(name, lambda path: read_bytes(path, self._verified.add))
        self._check_blobs(quick=True)
        self._compare(manifest, state, None, None)
        self._findings.note(NoteKind.QUICK, NOT_CHECKED)
        return self._checked(manifest, state, {}, {})

    def _check_blobs(self, *, quick: bool) -> None:
        folder, arrived = self._store.export_dir, self._verified.add
        self._blobs = check_blobs(folder, self._findings, quick=quick, arrived=arrived)

    def _read_documents(self, of_3_0_3: str) -> tuple[ExportManifest | None, ExportState | None]:
        """Read manifest and state. of_3_0_3: the note on an export of dr-wandb 3.0.3."""
        self._look_beside()
        manifest = self._load(self._store.manifest_path, _load_manifest)
        if manifest is not None and manifest.schema_version < FIRST_OF_OURS:
            self._findings.note(NoteKind.OF_3_0_3, of_3_0_3)
        state = self._as_remembered(self._load(self._store.state_path, load_state))
        return manifest, state

    def _read_records(
        self, manifest: ExportManifest | None, state: ExportState | None
    ) -> tuple[dict[str, StoredRun], dict[str, dict[str, StoredPart]]]:
        """Read the runs and the rows, and check each line."""
        findings, known = self._findings, manifest or state
        strict = known is not None and known.schema_version >= FIRST_OF_OURS
        addresses = [] if known is None else [f"{known.entity}/{known.project}"]
        addresses += manifest.moved_from if manifest is not None else []
        runs = RunsAudit(findings, addresses, strict)
        self._read(RUNS_FILE, lambda path: read_lines(path, runs, self._verified.add))
        run_ids = runs.runs if RUNS_FILE in self._seen else Everything()
        row_shape = row_shape_of(manifest, state)
        rows = {}
        for dataset in DATASETS.values():
            selections, ends = known_of(state, dataset.name)
            rules = RowRules(
                strict=strict,
                dataset=dataset.name,
                row_shape=row_shape,
                selections=selections,
                every=self._every,
            )
            audit = RowsAudit(dataset.name, findings, run_ids, rules)
            self._read(dataset.file, partial(self._check_rows, dataset.name, rules, ends, audit))
            rows[dataset.name] = audit.runs
        return runs.runs, rows

    def _read_project(self) -> dict[str, dict[str, StoredRecord]]:
        """Read the records of the project, and check each line."""
        records = {}
        for name, dataset in PROJECT_DATASETS.items():
            audit = RecordsAudit(name, self._findings, find_hashes())
            self._read(dataset.file, partial(read_records, audit=audit, arrived=self._verified.add))
            if self._seen.get(dataset.file) is not None:
                records[name] = audit.records
        return records

    def _columns(self, manifest: ExportManifest) -> "ParquetChecking | None":
        """Return the check of the Parquet files, None if there is none: it takes long to import."""
        folder = self._store.export_dir
        if not holds_columns(manifest) and not (folder / PARQUET_FOLDER).is_dir():
            return None
        from dr_wandb.shell.inspect.parquet_checking import ParquetChecking

        return ParquetChecking(folder, manifest, self._findings, self._verified.add)

    def _read_columns(
        self,
        manifest: ExportManifest | None,
        state: ExportState | None,
        runs: dict[str, StoredRun],
        rows: Mapping[str, Mapping[str, StoredPart]],
    ) -> dict[str, dict[str, StoredPart]]:
        """Check the Parquet files; return the rows of each run if they are nowhere else."""
        if manifest is None or (columns := self._columns(manifest)) is None:
            return {}
        alone = history_is_in_columns(manifest)
        run_ids = runs if RUNS_FILE in self._seen else Everything()
        selections, _ = known_of(state, HISTORY)
        rules = RowRules(
            strict=True,
            row_shape=row_shape_of(manifest, state),
            selections=selections,
            every=self._every,
        )
        if not self._is_as_stated(manifest, RUNS_FILE):
            runs = {}
        columns.check(runs, rules if alone else None, run_ids)
        self._seen |= columns.seen
        check_columns(self._findings, manifest, columns.seen, columns.found())
        tables = columns.tables if manifest.schema_version >= FIRST_WITH_TABLES else {}
        held = tables if alone else {HISTORY: columns.parts, **tables}
        for dataset, parts in held.items():
            lines = stored_in(state, dataset)
            if self._is_as_stated(manifest, DATASETS[dataset].file):
                lines = {run_id: part.byte_range for run_id, part in rows[dataset].items()}
            if lines is not None:
                check_runs_in_columns(self._findings, parts, lines, dataset)
        return {HISTORY: in_order(columns.parts, stored_in(state) or {})} if alone else {}

    def _is_as_stated(self, manifest: ExportManifest, name: str) -> bool:
        """Say whether a file has the SHA-256 that the manifest has."""
        file, stated = self._seen.get(name), manifest.files.get(name)
        return file is not None and stated is not None and file.sha256 == stated.sha256

    def _check_rows(
        self, dataset: str, rules: RowRules, ends: list[int], audit: RowsAudit, path: Path
    ) -> ReadFile:
        arrived = self._verified.add
        return SlicedFile(path, dataset, rules, ends, self._executor, arrived).check(audit)

    def _checked(
        self,
        manifest: ExportManifest | None,
        state: ExportState | None,
        runs: dict[str, StoredRun],
        rows: Mapping[str, Mapping[str, StoredPart]],
    ) -> CheckedExport:
        self._verified.finish()
        known = manifest or state
        read = {name: file for name, file in self._seen.items() if file is not None}
        report = VerifyReport(
            name=self._store.name,
            entity=known.entity if known is not None else None,
            project=known.project if known is not None else None,
            runs=read[RUNS_FILE].lines if RUNS_FILE in read else 0,
            rows=rows_in(read),
            files=dict(sorted({**self._documents, **read}.items())),
            blobs=self._blobs[0],
            blob_bytes=self._blobs[1],
            findings=self._findings.all(),
            notes=tuple(self._findings.notes),
        )
        return CheckedExport(
            report=report,
            manifest=manifest,
            state=state,
            runs=runs,
            rows=rows,
            records=self._records,
        )

    def _size(self, name: str) -> int:
        try:
            return (self._store.export_dir / name).stat().st_size
        except OSError:
            return 0

    def _look_beside(self) -> None:
        beside = look_beside(self._store.export_dir)
        if beside.commit and beside.holder is not None:
            problem = f"a commit is in progress: {beside.holder}"
            self._findings.add(FindingKind.BUSY, RECORD_FILE, problem)
        elif beside.commit:
            problem = "the commit of a sync was interrupted; some files may still be old"
            self._findings.add(FindingKind.INTERRUPTED, RECORD_FILE, problem)
        elif beside.holder is not None:
            self._findings.note(NoteKind.AT_WORK, f"a sync is at work: {beside.holder}")

    def _as_remembered(self, read: ReadState | None) -> ExportState | None:
        """Return the remembered state, None if it is lost: the data is complete without it."""
        if read is None or not read.lost:
            return read and read.state
        if read.lost.damaged:
            self._findings.add(FindingKind.DOCUMENT, read.lost.path.name, read.lost.problem)
        else:
            missing = f"{read.lost.path.name} {read.lost.problem}"
            forgotten = f"{missing}: the next sync reads the histories again"
            self._findings.note(NoteKind.FORGOTTEN, forgotten)
        return None

    def _load(self, path: Path, load: Callable[[Path], _R | None]) -> _R | None:
        """Read the manifest or the state; a problem becomes a finding."""
        try:
            document = load(path)
            if document is None:
                self._findings.add(FindingKind.MISSING, path.name, "is missing")
                return None
            content = path.read_bytes()
        except DrWandbError as error:
            self._add_failure(path, error)
            return None
        except OSError as error:
            self._refused(path, error)
            return None
        self._documents[path.name] = DataFile(
            lines=content.count(b"\n"),
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        version = document.schema_version
        if version >= FIRST_OF_OURS and not document_is_canonical(content):
            respelled = f"{path.name} was reformatted by another program"
            self._findings.note(NoteKind.RESPELLED, respelled)
        return document

    def _read(self, name: str, read: Callable[[Path], ReadFile]) -> None:
        """Read a data file. One that cannot be read is not in `_seen` afterwards."""
        path = self._store.export_dir / name
        try:
            require_visible_file(path)
            found = read(path)
        except FileNotFoundError:
            self._seen[name] = None
            return
        except DrWandbError as error:
            self._add_failure(path, error)
            return
        except OSError as error:
            self._refused(path, error)
            return
        self._seen[name] = found.file
        if found.torn:
            kind = FindingKind.LOG if name == CHANGES_FILE else FindingKind.TORN
            self._findings.add(kind, name, "the last line is cut short", found.lines)

    def _compare(
        self,
        manifest: ExportManifest | None,
        state: ExportState | None,
        runs: Mapping[str, StoredRun] | None,
        rows: Mapping[str, Mapping[str, StoredPart]] | None,
    ) -> None:
        findings = self._findings
        if manifest is not None:
            if manifest.name != self._store.name:
                renamed = f"the folder was renamed: it was {manifest.name!r} when last synced"
                findings.note(NoteKind.RENAMED, renamed)
            check_manifest(findings, manifest, state, self._seen)
        else:
            self._require_runs()
        if manifest is not None and state is not None:
            check_documents(findings, manifest, state)
        if state is not None and state.schema_version >= FIRST_OF_OURS:
            in_columns = history_is_in_columns(manifest)
            check_state(findings, state, self._seen, runs, rows, in_columns=in_columns)

    def _require_runs(self) -> None:
        """Report a missing `runs.jsonl`, which is always there, if no manifest names it."""
        if RUNS_FILE in self._seen and self._seen[RUNS_FILE] is None:
            self._findings.add(FindingKind.MISSING, RUNS_FILE, "is missing")

    def _report_times(self, changes: ChangesAudit) -> None:
        """Report times that go back: damage, or another clock if the file is as it was written."""
        if not changes.backwards:
            return
        line = changes.backwards[0]
        if self._findings.has(CHANGES_FILE):
            problem = "is earlier than the line before it"
            for number in changes.backwards:
                self._findings.add(FindingKind.LOG, CHANGES_FILE, problem, number)
        else:
            self._findings.note(
                NoteKind.CLOCKS,
                f"{CHANGES_FILE} line {line} is earlier than the line before it: syncs ran "
                "with different clocks, or replayed",
            )

    def _add_failure(self, path: Path, error: DrWandbError) -> None:
        failure = error.failure
        if isinstance(failure, DamagedFile):
            problem = f"cannot be read: {failure.reason}"
            self._findings.add(FindingKind.DOCUMENT, path.name, problem)
        elif isinstance(failure, NewerSchema):
            problem = f"schema_version {failure.found} is newer than {failure.known}"
            self._findings.add(FindingKind.NEWER, path.name, problem)
        else:
            self._findings.add(FindingKind.REFUSED, path.name, str(error).splitlines()[0])

    def _refused(self, path: Path, error: OSError) -> None:
        problem = f"cannot be read: {error.strerror or error}"
        self._findings.add(FindingKind.REFUSED, path.name, problem)


def _load_manifest(path: Path) -> ExportManifest | None:
    return load_document(path, ExportManifest)
