"""The `wandb-export` command: flags to a request, the engine's summary to stdout.

stdout carries one JSON document; everything else goes to stderr. Nothing heavy is imported before
it is needed, so `--help` and `--version` answer at once.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from dr_wandb.core.failures import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_USAGE,
    DrWandbError,
)
from dr_wandb.core.problems import InvalidRequestError, all_problems
from dr_wandb.core.request import (
    ExportMode,
    ExportRequest,
    SyncMode,
    build_selection,
    check_source,
)
from dr_wandb.core.version import VERSION

if TYPE_CHECKING:
    from dr_wandb.core.manifest import ExportSummary

LOG_LEVEL_VARIABLE = "DR_WANDB_LOG_LEVEL"

app = App(
    name="wandb-export",
    version=VERSION,
    help="Export a W&B project to plain files that other programs load without W&B.",
    help_format="plaintext",
    help_on_error=False,
)


@app.default
def export(
    entity: str,
    project: str,
    /,
    *,
    name: str,
    data_root: Path = Path("./data"),
    mode: ExportMode = ExportMode.METADATA,
    sync_mode: SyncMode = SyncMode.INCREMENTAL,
    history_key: Annotated[list[str] | None, Parameter(negative="")] = None,
    min_step: int | None = None,
    max_step: int | None = None,
    max_records: int | None = None,
    runs_per_page: int = 500,
    timeout_seconds: int = 120,
    include_metadata: bool = False,
    source: str = "api",
    record: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
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
        Where exports lie.
    mode
        `metadata` exports one snapshot a run; `history` the logged rows too.
    sync_mode
        `incremental` reads what is new or may have changed; `full_reconcile` every run again.
    history_key
        Keep only rows that have at least one of these metrics, with just those. Repeat it for
        several. A dotted path reaches into nested values.
    min_step
        Keep rows from this step on.
    max_step
        Keep rows before this step.
    max_records
        Keep the last so many rows of each run.
    runs_per_page
        Page size of the listing.
    timeout_seconds
        Give up on a call that brings nothing for so long.
    include_metadata
        Store each run's wandb-metadata.json: host, program, git remote, and the like.
    source
        Where runs come from: `api`, or `replay:DIR` for a recording.
    record
        Write what the source says into this folder, for `--source replay:DIR`.
    dry_run
        Print what would be done, and write nothing.
    json
        With `--dry-run`: print the plan as JSON.
    quiet
        Say nothing on stderr but warnings and errors.
    """
    with all_problems() as attempt:
        selection = attempt(
            lambda: build_selection(
                keys=history_key, min_step=min_step, max_step=max_step, max_records=max_records
            )
        )
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
            )
        )
        attempt(lambda: check_source(source))
        attempt(lambda: _check_outputs(dry_run, json, record))
    assert request is not None
    _configure_logging(quiet)
    if dry_run:
        return _print_plan(request, source, json)
    return _export(request, source, record, quiet)


def _check_outputs(dry_run: bool, json: bool, record: Path | None) -> None:
    if json and not dry_run:
        raise InvalidRequestError(["--json goes with --dry-run; the summary is JSON anyway"])
    if record is not None and dry_run:
        raise InvalidRequestError(["--record writes, --dry-run does not: give one of them"])


def _export(request: ExportRequest, source: str, record: Path | None, quiet: bool) -> int:
    from contextlib import nullcontext

    from dr_wandb.core.codec import encode_document
    from dr_wandb.shell.engine import ExportEngine
    from dr_wandb.shell.progress import LoggedProgress, ProgressBar, say_nothing, someone_watches
    from dr_wandb.shell.sources.opening import opener

    bar = ProgressBar() if someone_watches() and not quiet else None
    with bar or nullcontext():
        progress = say_nothing if quiet else bar or LoggedProgress()
        engine = ExportEngine(request, source=opener(source), record=record, progress=progress)
        summary = engine.export()
    _print(encode_document(summary).decode())
    return _report(summary)


def _report(summary: "ExportSummary") -> int:
    for failed in summary.failures:
        print(f"run {failed.run_id!r} failed: {failed.reason}", file=sys.stderr)
    if summary.complete:
        return EXIT_OK
    not_read = len(summary.failures) + summary.unlisted_count
    runs = "1 run" if not_read == 1 else f"{not_read} runs"
    print(f"{runs} could not be read and kept as before; sync again to retry", file=sys.stderr)
    return EXIT_PARTIAL


def _print_plan(request: ExportRequest, source: str, as_json: bool) -> int:
    from dr_wandb.core.codec import encode_document
    from dr_wandb.core.describe import describe_plan
    from dr_wandb.shell.engine import ExportEngine
    from dr_wandb.shell.sources.opening import opener

    plan = ExportEngine(request, source=opener(source)).plan()
    _print(encode_document(plan).decode() if as_json else "\n".join((*describe_plan(plan), "")))
    return EXIT_OK


def _print(text: str) -> None:
    """Write to stdout, in UTF-8 whatever the terminal's encoding."""
    if sys.stdout is None:
        raise StdoutError("it is closed")
    try:
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:
            sys.stdout.write(text)
        else:
            sys.stdout.flush()
            buffer.write(text.encode())
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        sys.stdout = None  # the interpreter would try to flush it once more
        raise StdoutError(str(error)) from None


class StdoutError(Exception):
    """The result could not be printed."""


def _configure_logging(quiet: bool) -> None:
    from dr_wandb.shell.progress import LOGGER, StderrHandler

    if not LOGGER.handlers:
        LOGGER.addHandler(StderrHandler())
    wanted = os.environ.get(LOG_LEVEL_VARIABLE, "INFO").strip().upper()
    level = logging.getLevelNamesMapping().get(wanted, logging.INFO)
    LOGGER.setLevel(max(level, logging.WARNING) if quiet else level)
    LOGGER.propagate = False


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Expected failures are told in a line or two."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result: Any = app(
            tokens, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()), EXIT_USAGE)
    except InvalidRequestError as error:
        return _fail("\n".join(error.problems), EXIT_USAGE)
    except DrWandbError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; what was fetched is kept for the next sync", EXIT_INTERRUPTED)
    except StdoutError as error:
        return _fail(f"cannot print to stdout: {error}", EXIT_BUG)
    return result if isinstance(result, int) else EXIT_OK


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def main() -> NoReturn:
    """Run the command as a program, which ends on SIGTERM as it does on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.pop("WANDB_SERVICE", None)  # of the process that started this one, dead or alive
    sys.exit(run())
