"""Remove the bytes that no file of an export names any more.

Rules
- Bytes may be the only copies that are left. So nothing is removed if the lines that name them were
  not those of the last commit when the sync began: lines that were lost name nothing.
- Nor if there were no such lines at all, unless the files are dropped.
- Blobs that an earlier sync noted as fetched stay, as a later sync is to use them: see
  `trim_notes_after`.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from dr_wandb.core.contract.amounts import size_in_words
from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.wording import count
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import find_blobs
from dr_wandb.shell.store.checked_files import digest_of
from dr_wandb.shell.store.fetched_blobs import noted_files, trim_notes
from dr_wandb.shell.store.named_blobs import remove_unnamed
from dr_wandb.shell.sync.file_contents import held_files
from dr_wandb.shell.sync.results import RunResult

NOTHING_PRUNED = "--prune removed no blob: %s"

RUNS_AT_ONCE = 64
"""The notes of more runs than these are hardly mixed: fewer are fetched at once."""

MISSING = (
    "{} was missing, or was changed outside of a sync, so it may have named more; restore it from "
    "a copy, as the next --prune removes what no file names"
)
NEVER_NAMED = "no {} named any when the sync began; --drop {} --prune removes them all"


def why_not_to_prune(
    folder: Path, manifest: ExportManifest | None, request: ExportRequest
) -> str | None:
    """Say why the blobs of an export have to stay in the sync that begins, None if nothing does.

    manifest: that of the last commit.
    """
    if not request.prune or next(find_blobs(folder), None) is None:
        return None
    files = {} if manifest is None else manifest.files
    left = [name for name, one in DATASETS.items() if one.has_content]
    reasons = (_reason(folder, files, name) for name in left if name not in request.drop_datasets)
    return next(filter(None, reasons), None)


def _reason(folder: Path, files: Mapping[str, DataFile], dataset: str) -> str | None:
    path = folder / DATASETS[dataset].file
    named = files.get(path.name)
    if named is None and not path.exists():
        return NEVER_NAMED.format(path.name, dataset)
    if named is None or digest_of(path) != named.sha256:
        return MISSING.format(path.name)
    return None


def trim_notes_after(
    folder: Path,
    request: ExportRequest,
    scratch: Path,
    results: Mapping[str, RunResult],
    runs: Mapping[str, RunTracking],
) -> None:
    """Remove the notes of fetched files that no later sync needs, after a commit.

    A note stays if no line names its blob, and this sync did not read the file, or did not want it.
    With `prune` it goes if the export has no such run, or W&B has it no longer. runs: those of the
    export. A commit that a crash interrupted leaves notes of files that lines name.
    """
    contents = [name for name, one in DATASETS.items() if one.has_content]

    def is_read(row: RunFile) -> bool:
        result = results.get(row.run_id)
        fetched = [name for name in contents if result is not None and name in result.fetched]
        choices = map(request.contents_of, fetched)
        return any(one.admits(row.path) and not one.too_large(row.size) for one in choices)

    @lru_cache(maxsize=RUNS_AT_ONCE)
    def named_of(run_id: str) -> Mapping[str, str | None]:
        return {
            file.path: file.sha256
            for name in contents
            for file in _held_files(folder, name, runs.get(run_id)).values()
        }

    def stays(row: RunFile) -> bool:
        if is_read(row) or not {*contents} - {*request.drop_datasets}:
            return False
        run = runs.get(row.run_id)
        if request.prune and (run is None or run.missing_since is not None):
            return False
        return named_of(row.run_id).get(row.path) != row.sha256

    with suppress(OSError):  # all is committed: a full disk does not undo that
        trim_notes(scratch, stays)


def _held_files(folder: Path, dataset: str, run: RunTracking | None) -> Mapping[str, RunFile]:
    """Return the files of a run whose bytes are held, as they are committed."""
    at = None if run is None else run.part(dataset).stored
    if at is None:
        return {}
    path = folder / DATASETS[dataset].file
    with suppress(OSError), path.open("rb") as stream:
        return held_files(disk.read_lines(stream, at.offset, at.length))
    return {}


def remove_blobs(folder: Path, scratch: Path, why_not: str | None) -> None:
    """Remove the blobs that no line of a committed export names, and say how many they were.

    why_not: what `why_not_to_prune` said when the sync began.
    """
    if why_not is not None:
        LOGGER.warning(NOTHING_PRUNED, why_not)
        return
    removed, size = remove_unnamed(folder, scratch, noted_files(scratch))
    if removed:
        blobs = count(removed, "blob")
        LOGGER.info("removed %s that no file names (%s)", blobs, size_in_words(size))
