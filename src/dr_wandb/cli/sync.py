"""`wandb-export sync`: bring everything that an export holds up to date."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dr_wandb.cli.export import do_sync, print_plan, report
from dr_wandb.cli.flags import Folder, How, Switch
from dr_wandb.cli.output import configure_logging, print_error, print_json, print_result
from dr_wandb.core.contract.failures import EXIT_OK, EXIT_PARTIAL, DrWandbError
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest, SyncMode


def sync(
    name: str | None = None,
    /,
    *,
    every: Annotated[Switch, Parameter(name="--all")] = False,
    data_root: Folder = Path("./data"),
    sync_mode: How = SyncMode.INCREMENTAL,
    timeout_seconds: int = 120,
    max_rate: float | None = None,
    dry_run: Switch = False,
    quiet: Switch = False,
) -> int:
    """Bring everything that an export holds up to date, as it was last requested.

    Each dataset is read with the selection that it was last read with, from the same source.

    Parameters
    ----------
    name
        Name of the export.
    every
        Sync every export below the data root, one after the other. One that fails does not stop
        the others.
    data_root
        The folder that holds the exports.
    sync_mode
        As for an export: `incremental`, `detect_changes` or `full_reconcile`.
    timeout_seconds
        Give up on a request after N seconds, and on a download after N without progress.
    max_rate
        Send at most N requests a second.
    dry_run
        Print what would be done, and write nothing.
    quiet
        Print only warnings and errors on stderr.
    """
    from dr_wandb.shell.inspect.status import find_exports
    from dr_wandb.shell.store.export_store import ExportStore
    from dr_wandb.shell.sync.repeat import request_again

    if every == (name is not None):
        raise InvalidRequestError(["give the name of an export, or --all"])
    if not data_root.exists():
        raise InvalidRequestError([f"there is no folder {data_root}: give --data-root"])

    def again(store: ExportStore) -> tuple[ExportRequest, str]:
        return request_again(
            store, sync_mode=sync_mode, timeout_seconds=timeout_seconds, max_rate=max_rate
        )

    configure_logging(quiet)
    if name is not None:
        request, source = again(ExportStore(name=name, data_root=data_root))
        if dry_run:
            return print_plan(request, source, as_json=False)
        summary = do_sync(request, source, quiet=quiet)
        print_json(summary)
        return report(summary)
    codes = set()
    for store in find_exports(data_root):
        configure_logging(quiet, f"{store.name}: ")
        try:
            request, source = again(store)
            codes.add(_sync_one(request, source, dry_run=dry_run, quiet=quiet))
        except DrWandbError as error:
            print_error(f"{store.name}: {error.failure.describe()}")
            codes.add(error.exit_code)
    codes.discard(EXIT_OK)
    return EXIT_OK if not codes else codes.pop() if len(codes) == 1 else EXIT_PARTIAL


def _sync_one(request: ExportRequest, source: str, *, dry_run: bool, quiet: bool) -> int:
    """Sync one of several exports; its summary is one line, and every other line has its name."""
    from dr_wandb.core.contract.codec import encode_line

    about = f"{request.name}: "
    if dry_run:
        return print_plan(request, source, as_json=False, about=about)
    summary = do_sync(request, source, quiet=quiet)
    print_result(encode_line(summary).decode())
    return report(summary, about)
