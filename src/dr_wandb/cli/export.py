"""`wandb-export ENTITY PROJECT`, also as `wandb-export export ENTITY PROJECT`: one sync."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dr_wandb.cli import gc_tuning
from dr_wandb.cli.flags import Folder, How, Mode, ScopeFlags, Several, Switch
from dr_wandb.cli.help import EXPORT, OUTPUT, REQUESTS, ROWS, RUNS, SOURCE, SYNC
from dr_wandb.cli.output import configure_logging, print_error, print_json, print_lines
from dr_wandb.core.contract.failures import EXIT_OK, EXIT_PARTIAL, DrWandbError
from dr_wandb.core.contract.problems import InvalidRequestError, all_problems
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode, check_source
from dr_wandb.core.contract.scope import build_scope
from dr_wandb.core.contract.selection import build_selection

if TYPE_CHECKING:
    from dr_wandb.core.sync.summary import ExportSummary
    from dr_wandb.shell.sources import Source
    from dr_wandb.shell.sources.opening import SourceOpener


def export(
    entity: str,
    project: str,
    /,
    *,
    name: Annotated[str, EXPORT],
    data_root: Annotated[Folder, EXPORT] = Path("./data"),
    mode: Annotated[Mode, EXPORT] = ExportMode.METADATA,
    sync_mode: Annotated[How, SYNC] = SyncMode.INCREMENTAL,
    history_key: Annotated[Several, ROWS] = None,
    min_step: Annotated[int | None, ROWS] = None,
    max_step: Annotated[int | None, ROWS] = None,
    max_records: Annotated[int | None, ROWS] = None,
    runs_per_page: Annotated[int, REQUESTS] = 500,
    timeout_seconds: Annotated[int, REQUESTS] = 120,
    include_metadata: Annotated[bool, EXPORT] = False,
    scope_flags: ScopeFlags = None,
    run_filter: Annotated[str | None, RUNS] = None,
    prune: Annotated[Switch, SYNC] = False,
    allow_empty: Annotated[Switch, SYNC] = False,
    allow_narrower: Annotated[Switch, SYNC] = False,
    max_rate: Annotated[float | None, REQUESTS] = None,
    source: Annotated[str, SOURCE] = "api",
    any_project: Annotated[Switch, SOURCE] = False,
    host_moved: Annotated[Switch, SOURCE] = False,
    moved_from: Annotated[str | None, SOURCE] = None,
    record: Annotated[Folder | None, SOURCE] = None,
    dry_run: Annotated[Switch, OUTPUT] = False,
    json: Annotated[Switch, OUTPUT] = False,
    quiet: Annotated[Switch, OUTPUT] = False,
) -> int:
    """Export a W&B project to plain files that other programs load without W&B.

    Run it again to bring the export up to date: each time it fetches only what it must. stdout
    gets one JSON summary, everything else goes to stderr.

    Parameters
    ----------
    entity
        The user or team that owns the project.
    project
        The project.
    name
        Name of the export: the folder below the data root.
    data_root
        The folder that holds the exports.
    mode
        `metadata` exports one snapshot of each run; `history` the logged rows too.
    sync_mode
        `incremental` reads what is new or may have changed; `detect_changes` compares every run
        with what is stored, in one listing; `full_reconcile` reads every run again.
    history_key
        Keep only these metrics, and only the rows that have at least one of them. Repeat it for
        several. `val` means all of `val.*`; a dotted path reaches into values that are objects.
    min_step
        Keep rows from this step on.
    max_step
        Keep rows before this step.
    max_records
        Keep only the last N rows of each run.
    runs_per_page
        List at most N runs in a page; pages of large runs are made smaller automatically.
    timeout_seconds
        Give up on a request after N seconds, and on a download after N without progress.
    include_metadata
        Store each run's wandb-metadata.json: host, program, git remote, and the like.
    scope_flags
        One flag for each way of choosing runs; `CRITERIA` says what each one does.
    run_filter
        Follow only runs that this filter admits: JSON in the style of MongoDB, as wandb's
        `Api.runs(filters=...)` takes it. Needs `--source api`.
    prune
        Drop runs that are gone upstream; without this flag they are kept.
    allow_empty
        Accept a listing in which most of the runs of the export are missing.
    allow_narrower
        Drop stored rows, and values of rows, that the selection does not admit; without this flag
        such a sync changes nothing.
    max_rate
        Send at most N requests a second.
    source
        Where runs come from: `api`, `replay:DIR` for a recording, or `offline:DIR` for the
        `wandb` folder that a training script wrote, or a tree with many of them.
    any_project
        With `--source offline:DIR`: also export runs of other entities and projects.
    host_moved
        Accept another W&B server than the one that the export came from: it has a new address.
    moved_from
        The ENTITY/PROJECT that the project had before it was renamed or moved; no row is read
        again.
    record
        Record the answers of the source in this folder, for `--source replay:DIR`.
    dry_run
        Print what would be done, and write nothing.
    json
        With `--dry-run`: print the plan as JSON.
    quiet
        Print only warnings and errors on stderr.
    """
    with all_problems() as attempt:
        selection = attempt(
            lambda: build_selection(
                keys=history_key, min_step=min_step, max_step=max_step, max_records=max_records
            )
        )
        scope = attempt(lambda: build_scope(scope_flags or {}, run_filter))
        request = attempt(
            lambda: ExportRequest(
                entity=entity,
                project=project,
                name=name,
                data_root=data_root,
                mode=mode,
                sync_mode=sync_mode,
                runs_per_page=runs_per_page,
                timeout_seconds=timeout_seconds,
                include_metadata=include_metadata,
                history_selection=selection,
                scope=scope,
                prune=prune,
                allow_empty=allow_empty,
                allow_narrower=allow_narrower,
                any_project=any_project,
                host_moved=host_moved,
                moved_from=moved_from,
                max_rate=max_rate,
            )
        )
        attempt(lambda: check_source(source, scope, any_project=any_project))
        attempt(lambda: _check_outputs(dry_run, json, record))
    assert request is not None
    configure_logging(quiet)
    if dry_run:
        return print_plan(request, source, as_json=json)
    summary = do_sync(request, source, record=record, quiet=quiet)
    print_json(summary)
    return report(summary)


def _check_outputs(dry_run: bool, json: bool, record: Path | None) -> None:
    if json and not dry_run:
        raise InvalidRequestError(["--json needs --dry-run; the summary is JSON anyway"])
    if record is not None and dry_run:
        raise InvalidRequestError(
            ["--record writes files, --dry-run writes none: give one of them"]
        )


def do_sync(
    request: ExportRequest, source: str, *, record: Path | None = None, quiet: bool
) -> "ExportSummary":
    """Do a sync that shows its progress, and return its summary."""
    from contextlib import nullcontext

    from dr_wandb.shell.progress import LoggedProgress, ProgressBar, say_nothing, someone_watches
    from dr_wandb.shell.sync.engine import ExportEngine

    bar = ProgressBar() if someone_watches() and not quiet else None
    with bar or nullcontext():
        progress = say_nothing if quiet else bar or LoggedProgress()
        engine = ExportEngine(request, source=_opener(source), record=record, progress=progress)
        return engine.export()


def report(summary: "ExportSummary", about: str = "") -> int:
    """Name the runs that are not complete on stderr, and return the exit code of a sync."""
    from dr_wandb.core.sync.describe import describe_unproven

    for line in describe_unproven(summary):
        print_error(f"{about}{line}")
    return EXIT_OK if summary.complete else EXIT_PARTIAL


def print_plan(request: ExportRequest, source: str, *, as_json: bool, about: str = "") -> int:
    """Print what a sync would do, and return its exit code."""
    from dr_wandb.core.sync.describe import describe_plan
    from dr_wandb.core.sync.narrowing import check_narrower
    from dr_wandb.shell.sync.engine import ExportEngine

    plan = ExportEngine(request, source=_opener(source)).plan()
    if as_json:
        print_json(plan)
    else:
        print_lines(f"{about}{line}" for line in describe_plan(plan))
    narrower = check_narrower(request, plan)
    if narrower is not None:
        raise DrWandbError(narrower)
    return EXIT_PARTIAL if plan.failures else EXIT_OK


def _opener(source: str) -> "SourceOpener":
    from dr_wandb.shell.sources.opening import source_opener

    open_source = source_opener(source)

    def open_undisturbed(request: ExportRequest, private: Path) -> "Source":
        with gc_tuning.paused():  # the SDK is imported here
            return open_source(request, private)

    return open_undisturbed
