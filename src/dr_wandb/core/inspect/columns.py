"""Check the Parquet files of an export: against the manifest, and the runs in them.

Rules
- A file that does not have the SHA-256 in the manifest is not decoded: its runs are not known then.
- Whether a run has the right rows is decided by the digest of its lines, which the state has too.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.export_files import (
    MANIFEST_FILE,
    PARQUET_RUNS,
    RUNS_FILE,
    is_parquet,
    table_folder,
)
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.wording import count
from dr_wandb.core.inspect.audit_rows import StoredPart
from dr_wandb.core.inspect.verify import FindingKind, Findings

Seen = Mapping[str, DataFile | None]
"""As in consistency.py."""


class ColumnsPart(Record, frozen=True, kw_only=True):
    """The rows of one run in Parquet files, the first of which is `file`.

    cells: the digest of its cells. whole: all of its files could be read.
    """

    file: str
    part: StoredPart
    cells: str
    whole: bool = True


def check_columns(
    findings: Findings, manifest: ExportManifest, seen: Seen, found: Iterable[str]
) -> None:
    """Compare the Parquet files with the manifest. found: everything in their folders."""
    for name in sorted({*found} - manifest.files.keys()):
        problem = f"is not in {MANIFEST_FILE}, but who reads the whole folder reads it too"
        findings.add(FindingKind.STRAY, name, problem)
    for name, stated in sorted(manifest.files.items()):
        if is_parquet(name) and name in seen:
            for problem in _problems_of(seen[name], stated):
                findings.add(FindingKind.COLUMNS, name, problem)
    runs, made = manifest.files.get(RUNS_FILE), manifest.files.get(PARQUET_RUNS)
    if made is not None and runs is not None and made.contents != runs.sha256:
        findings.add(FindingKind.COLUMNS, PARQUET_RUNS, f"was made from another {RUNS_FILE}")


def _problems_of(file: DataFile | None, stated: DataFile) -> Iterable[str]:
    if file is None:
        yield "is missing"
    elif file.bytes != stated.bytes:
        yield f"has {file.bytes} bytes; {MANIFEST_FILE} says {stated.bytes}"
    elif file.sha256 != stated.sha256:
        yield f"does not have the SHA-256 that is in {MANIFEST_FILE}"
    elif file.lines != stated.lines:
        yield f"has {count(file.lines, 'row')}; {MANIFEST_FILE} says {stated.lines:,}"
    elif file.contents != stated.contents:
        yield f"does not have the contents that {MANIFEST_FILE} records"


def problem_of_parts(names: Iterable[str]) -> str | None:
    """Say which own file of a run is missing or too many, None if each is there once."""
    found = [name.removesuffix(".parquet").rpartition("-") for name in names]
    stems = {stem for stem, _, _ in found}
    if len(stems) > 1:
        return "is of a run that has files of several months"
    numbers = {int(number) for _, _, number in found}
    missing = sorted({*range(max(numbers))} - numbers)
    return f"is of a run whose file {missing[0]:04d} is not in {MANIFEST_FILE}" if missing else None


def check_runs_in_columns(
    findings: Findings,
    held: Mapping[str, ColumnsPart],
    known: Mapping[str, ByteRange],
    dataset: str = HISTORY,
) -> None:
    """Compare the runs in the Parquet files of a dataset with those in its file of lines."""
    folder, lines = table_folder(dataset), DATASETS[dataset].file
    damaged = findings.has_below(folder)
    for run_id in sorted(held.keys() | known.keys()):
        found, expected = held.get(run_id), known.get(run_id)
        here = found.part.byte_range if found is not None else None
        has, wanted = here.rows if here else 0, expected.rows if expected else 0
        if damaged if found is None else not found.whole:
            continue  # a file of it could not be read
        name = folder if found is None else found.file
        if has != wanted:
            problem = f"run {run_id!r} has {count(has, 'row')}, and {wanted:,} in {lines}"
            findings.add(FindingKind.COLUMNS, name, problem)
        elif here is not None and expected is not None and here.digest != expected.digest:
            problem = f"run {run_id!r} has other rows than in {lines}"
            findings.add(FindingKind.COLUMNS, name, problem)


def in_order(
    held: Mapping[str, ColumnsPart], known: Mapping[str, ByteRange]
) -> dict[str, StoredPart]:
    """Return the rows of runs as if all their lines were in one file.

    known: the byte ranges in the state. A run has the digest of its cells if it has that one there.
    """
    found = {}
    line, offset = 1, 0
    for run_id, one in sorted(held.items()):
        byte_range = one.part.byte_range
        if run_id in known and known[run_id].of_cells:
            byte_range = replace(byte_range, length=0, digest=one.cells)
        placed = replace(byte_range, offset=offset)
        found[run_id] = StoredPart(line=line, byte_range=placed, received=one.part.received)
        line, offset = line + byte_range.rows, offset + byte_range.length
    return found


def holds_columns(manifest: ExportManifest | None) -> bool:
    """Say whether an export has Parquet files."""
    return manifest is not None and any(map(is_parquet, manifest.files))


def history_is_in_columns(manifest: ExportManifest | None) -> bool:
    """Say whether the history is in Parquet files alone."""
    return holds_columns(manifest) and manifest is not None and manifest.history_path is None


def formats_stated(manifest: ExportManifest) -> list[str]:
    """Return the formats that a manifest says the history has."""
    requested = manifest.requested
    history = None if requested is None else requested.datasets.get(HISTORY)
    return [] if history is None else history.formats
