"""`wandb-export ENTITY PROJECT`, also as `wandb-export export ENTITY PROJECT`: one sync."""

import logging
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

from dr_wandb.cli import gc_tuning
from dr_wandb.cli.flags import (
    EVERYTHING,
    REST,
    Datasets,
    DropDatasets,
    DropFormats,
    Every,
    Files,
    Folder,
    Formats,
    How,
    Links,
    Mode,
    Raw,
    ScopeFlags,
    Several,
    Switch,
    Verbose,
)
from dr_wandb.cli.help import BYTES, EXPORT, OUTPUT, REQUESTS, ROWS, RUNS, SOURCE, SYNC
from dr_wandb.cli.interrupt import reported_interrupt
from dr_wandb.cli.output import (
    configure_logging,
    print_json,
    print_json_line,
    print_lines,
    print_words,
    someone_reads,
)
from dr_wandb.cli.screen import screen
from dr_wandb.core.contract.failures import EXIT_OK, EXIT_PARTIAL, DrWandbError
from dr_wandb.core.contract.file_choice import build_file_choice, read_size
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
    file_patterns: Annotated[Files, BYTES] = None,
    no_media: Annotated[Switch, BYTES] = False,
    max_file_size: Annotated[str | None, BYTES] = None,
    runs_per_page: Annotated[int, REQUESTS] = 500,
    timeout_seconds: Annotated[int, REQUESTS] = 120,
    include_metadata: Annotated[bool, EXPORT] = False,
    datasets: Annotated[Datasets, EXPORT] = None,
    drop_datasets: Annotated[DropDatasets, EXPORT] = None,
    formats: Annotated[Formats, EXPORT] = None,
    drop_formats: Annotated[DropFormats, EXPORT] = None,
    scope_flags: ScopeFlags = None,
    run_filter: Annotated[str | None, RUNS] = None,
    prune: Annotated[Switch, SYNC] = False,
    allow_empty: Annotated[Switch, SYNC] = False,
    allow_narrower: Annotated[Switch, SYNC] = False,
    max_rate: Annotated[float | None, REQUESTS] = None,
    source: Annotated[str, SOURCE] = "api",
    any_project: Annotated[Switch, SOURCE] = False,
    follow_links: Annotated[Links, SOURCE] = None,
    host_moved: Annotated[Switch, SOURCE] = False,
    moved_from: Annotated[str | None, SOURCE] = None,
    record: Annotated[Folder | None, SOURCE] = None,
    dry_run: Annotated[Switch, OUTPUT] = False,
    every: Annotated[Every, OUTPUT] = False,
    raw: Annotated[Raw, OUTPUT] = False,
    json: Annotated[Switch, OUTPUT] = False,
    quiet: Annotated[Switch, OUTPUT] = False,
    verbose: Annotated[Verbose, OUTPUT] = 0,
) -> int:
    """Export a W&B project to plain files that other programs load without W&B.

    Run it again to bring the export up to date: each time it fetches only what it must. stderr
    says how it goes and how it went; stdout gets one JSON summary if it is no terminal.

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
    file_patterns
        With `--with files`: fetch only files whose path fits this pattern, such as `*.yaml`. `*`
        also fits slashes. Repeat it for several.
    no_media
        With `--with files`: fetch no files below `media/`.
    max_file_size
        With `--with files`: fetch no larger files; a number of bytes, or `20MB`.
    runs_per_page
        List at most N runs in a page; pages of large runs are made smaller automatically.
    timeout_seconds
        Give up on a request after N seconds, and on a download after N without progress.
    include_metadata
        Store each run's wandb-metadata.json: host, program, git remote, and the like.
    datasets
        Export this too: `system`, the samples of the machines; `console`, the lines that the
        programs printed; `files`, the files of the runs; of the project `artifacts`, with their
        manifests and lineage, `sweeps` and `reports`. Repeat it for several. `everything` is the
        history and all of these as far as the source has them, but of files only what is known of
        them; `--with everything --with files` fetches them too. What is held and not asked for
        stays as it is.
    drop_datasets
        Remove what the export holds of this.
    formats
        Hold the history in this format too, from now on. Repeat it for both. A new export without
        this flag is in `jsonl`.
    drop_formats
        Remove the history in this format; another one has to stay.
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
    follow_links
        With `--source offline:DIR --with files`: read files outside of a run's folder, to which
        links in it lead, if they are in this folder. Repeat it for several.
    host_moved
        Accept another W&B server than the one that the export came from: it has a new address.
    moved_from
        The ENTITY/PROJECT that the project had before it was renamed or moved; no row is read
        again.
    record
        Record the answers of the source in this folder, for `--source replay:DIR`.
    dry_run
        Print what would be done, and write nothing.
    every
        With `--dry-run`: list every run. Without it, ten of a kind are listed and the others
        counted.
    raw
        With `--dry-run`: print names and values as they are, even if they can steer the terminal.
    json
        Print JSON on stdout, also on a terminal: the summary, with `--dry-run` the plan.
    quiet
        Print warnings and errors on stderr, and nothing else: no summary either, without `--json`.
    verbose
        Also print decisions and waits on stderr; `-vv`: and each request.
    """
    with all_problems() as attempt:
        selection = attempt(
            lambda: build_selection(
                keys=history_key, min_step=min_step, max_step=max_step, max_records=max_records
            )
        )
        files = attempt(
            lambda: build_file_choice(
                patterns=file_patterns,
                no_media=no_media,
                max_bytes=None if max_file_size is None else read_size(max_file_size),
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
                extra_datasets=tuple(name for name in datasets or () if name != EVERYTHING),
                with_everything=EVERYTHING in (datasets or ()),
                drop_datasets=tuple(drop_datasets or ()),
                formats=tuple(formats or ()),
                drop_formats=tuple(drop_formats or ()),
                files=files,
                follow_links=tuple(follow_links or ()),
            )
        )
        attempt(
            lambda: check_source(
                source, scope, any_project=any_project, follow_links=bool(follow_links)
            )
        )
        attempt(lambda: _check_outputs(dry_run, record))
        attempt(lambda: check_plan_flags(dry_run=dry_run, every=every, raw=raw))
    assert request is not None
    configure_logging(quiet, verbose=verbose)
    if dry_run:
        return print_plan(request, source, as_json=json, rest=None if every else REST, raw=raw)
    with reported_interrupt(request, source):
        return do_sync(request, source, record=record, as_json=json, quiet=quiet)


def _check_outputs(dry_run: bool, record: Path | None) -> None:
    if record is not None and dry_run:
        raise InvalidRequestError(
            ["--record writes files, --dry-run writes none: give one of them"]
        )


def check_plan_flags(*, dry_run: bool, every: bool, raw: bool) -> None:
    """Refuse flags that say how a plan is printed, if none is."""
    given = [flag for flag, is_given in (("--all", every), ("--raw", raw)) if is_given]
    if given and not dry_run:
        needs = "needs --dry-run: it says how the plan is printed"
        raise InvalidRequestError([f"{flag} {needs}" for flag in given])


def do_sync(
    request: ExportRequest,
    source: str,
    *,
    record: Path | None = None,
    as_json: bool,
    quiet: bool,
    about: str = "",
) -> int:
    """Do a sync, show how it goes and what it did, and return its exit code.

    about: written before each line, if this is one of several syncs; its JSON is one line then.
    """
    from dr_wandb.core.sync.describe import describe_unproven
    from dr_wandb.core.sync.describe_result import describe_result
    from dr_wandb.shell.progress import LOGGER

    began = monotonic()
    summary = _sync(request, source, record=record, quiet=quiet)
    if as_json or not (quiet or someone_reads()):
        print_json_line(summary) if about else print_json(summary)
    if LOGGER.isEnabledFor(logging.INFO):
        print_words(describe_result(summary, monotonic() - began), about)
    else:
        print_words(describe_unproven(summary), about)
    return EXIT_OK if summary.complete else EXIT_PARTIAL


def _sync(
    request: ExportRequest, source: str, *, record: Path | None, quiet: bool
) -> "ExportSummary":
    with screen(quiet) as watched:
        from dr_wandb.shell.progress import LoggedProgress, say_nothing
        from dr_wandb.shell.sync.engine import ExportEngine

        progress = say_nothing if quiet else watched or LoggedProgress()
        engine = ExportEngine(request, source=_opener(source), record=record, progress=progress)
        return engine.export()


def print_plan(
    request: ExportRequest,
    source: str,
    *,
    as_json: bool,
    about: str = "",
    rest: str | None = None,
    raw: bool = False,
) -> int:
    """Print what a sync would do, and return its exit code. rest, raw: as in `describe_plan`."""
    from dr_wandb.core.sync.describe import describe_plan
    from dr_wandb.core.sync.narrowing import check_narrower
    from dr_wandb.shell.progress import say_nothing
    from dr_wandb.shell.sync.engine import ExportEngine

    with screen() as watched:
        progress = watched or say_nothing
        plan = ExportEngine(request, source=_opener(source), progress=progress).plan()
    if as_json:
        print_json_line(plan) if about else print_json(plan)
    else:
        lines = describe_plan(plan, rest=rest, raw=raw)
        print_lines((f"{about}{line}" for line in lines), raw=raw)
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
