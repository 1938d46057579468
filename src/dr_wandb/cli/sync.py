"""`wandb-export sync`: bring everything that an export holds up to date."""

from pathlib import Path

from dr_wandb.cli.export import check_plan_flags, do_sync, print_plan
from dr_wandb.cli.flags import REST, Every, Folder, How, Raw, Switch, Verbose
from dr_wandb.cli.interrupt import reported_interrupt, sync_command
from dr_wandb.cli.output import configure_logging, print_error
from dr_wandb.core.contract.failures import EXIT_OK, EXIT_PARTIAL, DrWandbError
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.wording import failure_in_words


def sync(
    name: str | None = None,
    /,
    *,
    every: Every = False,
    data_root: Folder = Path("./data"),
    sync_mode: How = SyncMode.INCREMENTAL,
    timeout_seconds: int = 120,
    max_rate: float | None = None,
    dry_run: Switch = False,
    raw: Raw = False,
    json: Switch = False,
    quiet: Switch = False,
    verbose: Verbose = 0,
) -> int:
    """Bring everything that an export holds up to date, as it was last requested.

    Each dataset is read with the selection that it was last read with, from the same source.

    Parameters
    ----------
    name
        Name of the export.
    every
        Without a name: sync every export below the data root, one after the other. One that
        fails does not stop the others. With a name and `--dry-run`: list every run of the plan.
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
    raw
        With `--dry-run`: print names and values as they are, even if they can steer the terminal.
    json
        Print JSON on stdout, also on a terminal: the summary, with `--dry-run` the plan.
    quiet
        Print warnings and errors on stderr, and nothing else: no summary either, without `--json`.
    verbose
        Also print decisions and waits on stderr; `-vv`: and each request.
    """
    from dr_wandb.shell.inspect.status import find_exports
    from dr_wandb.shell.store.export_store import ExportStore
    from dr_wandb.shell.sync.repeat import request_again

    if name is None and not every:
        raise InvalidRequestError(["give the name of an export, or --all"])
    check_plan_flags(dry_run=dry_run, every=every and name is not None, raw=raw)
    if not data_root.exists():
        raise InvalidRequestError([f"there is no folder {data_root}: give --data-root"])

    def again(store: ExportStore) -> tuple[ExportRequest, str]:
        return request_again(
            store, sync_mode=sync_mode, timeout_seconds=timeout_seconds, max_rate=max_rate
        )

    def sync_one(store: ExportStore, rest: str | None, about: str = "") -> int:
        configure_logging(quiet, about, verbose=verbose)
        request, source = again(store)
        if dry_run:
            return print_plan(request, source, as_json=json, about=about, rest=rest, raw=raw)
        with reported_interrupt(request, source, command="" if about else sync_command(request)):
            return do_sync(request, source, as_json=json, quiet=quiet, about=about)

    if name is not None:
        store = ExportStore(name=name, data_root=data_root)
        return sync_one(store, rest=None if every else REST)
    codes = set()
    for store in find_exports(data_root):
        try:
            rest = f"wandb-export sync {store.name} --dry-run --all"
            codes.add(sync_one(store, rest, about=f"{store.name}: "))
        except DrWandbError as error:
            print_error(f"{store.name}: {failure_in_words(error.failure)}")
            codes.add(error.exit_code)
    codes.discard(EXIT_OK)
    return EXIT_OK if not codes else codes.pop() if len(codes) == 1 else EXIT_PARTIAL
