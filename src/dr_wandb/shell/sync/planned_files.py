"""How many files a sync would fetch, and how many bytes: for a plan that is only printed.

Rules
- The files of the runs that a sync would list are listed, and nothing else is requested.
- The code of the sync itself says which of them it would fetch. No held blob is read for that, and
  files with the same bytes, of which one is fetched, count each.
- A run whose files cannot be listed counts for nothing here; the sync itself names it.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.fetch_window import WHOLE_RUN
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.sync.plan import PlannedFiles, SyncPlan
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.sources import WORKERS, Source, SourceError
from dr_wandb.shell.sources.contents import contents_of
from dr_wandb.shell.sources.datasets import find_reader
from dr_wandb.shell.store.commit import STAGING_FOLDER
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.sync.file_contents import FileContents, held_files
from dr_wandb.shell.sync.stored_parts import StoredParts


def plan_files(
    source: Source,
    request: ExportRequest,
    folder: Path,
    plan: SyncPlan,
    stored: StoredExport,
    listing: Sequence[RunListing],
    scratch: Path,
) -> PlannedFiles | None:
    """List the files of the runs of a plan, and count those to fetch; None if none are wanted.

    folder: the export, which need not exist.
    """
    datasets = [one for one in request.datasets if request.contents_of(one).fetch]
    if not datasets:
        return None
    listed = {run.run_id: run for run in listing}
    parts = StoredParts(stored, scratch)
    jobs = [
        (dataset, listed[run.run_id])
        for run in plan.runs
        for dataset in datasets
        if dataset in run.fetches
    ]
    contents = FileContents(
        contents_of(source),
        request.contents_of(datasets[0]),
        folder,
        folder / STAGING_FOLDER,
        go_by_others=request.sync_mode != SyncMode.FULL_RECONCILE,
        scratch=scratch,
    )

    def count(job: tuple[str, RunListing]) -> PlannedFiles:
        dataset, run = job
        held = _held(stored, parts, dataset, run.run_id)
        return _count(source, contents, dataset, run, held)

    files = size = 0
    with closing(contents):
        for _, of_run in in_lanes([(jobs, WORKERS)], count):
            files, size = files + of_run.files, size + of_run.bytes
    return PlannedFiles(files=files, bytes=size)


def _held(
    stored: StoredExport, parts: StoredParts, dataset: str, run_id: str
) -> Mapping[str, RunFile]:
    tracking = stored.state.runs.get(run_id)
    byte_range = None if tracking is None else tracking.part(dataset).stored
    if byte_range is None:
        return {}
    with parts.lines(dataset, run_id, byte_range) as lines:
        return held_files(lines)


def _count(
    source: Source,
    contents: FileContents,
    dataset: str,
    run: RunListing,
    held: Mapping[str, RunFile],
) -> PlannedFiles:
    read = find_reader(source, dataset)
    assert read is not None, DATASETS[dataset]
    files = size = 0
    with suppress(SourceError):
        for batch in read(run, WHOLE_RUN, 0):
            rows = contents.to_fetch(run, batch.rows, held)
            files, size = files + len(rows), size + sum(row.size or 0 for row in rows)
    contents.forget(run)
    return PlannedFiles(files=files, bytes=size)
