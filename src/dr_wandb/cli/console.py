"""`wandb-export console NAME RUN`: print what the program of a run printed."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dr_wandb.cli.flags import Folder, Raw, Switch
from dr_wandb.cli.output import print_result, reader_is_gone
from dr_wandb.core.contract.failures import EXIT_OK
from dr_wandb.core.contract.problems import InvalidRequestError

if TYPE_CHECKING:
    from dr_wandb.core.contract.records import ConsoleLine

LINES_AT_ONCE = 1000


def console(
    name: str,
    run: str,
    /,
    *,
    stderr: Switch = False,
    tail: int | None = None,
    raw: Raw = False,
    data_root: Folder = Path("./data"),
) -> int:
    """Print the console of a run, as an export holds it. Needs no network.

    On a terminal, characters that can steer it are escaped; a file or a pipe gets every line as it
    is, as in W&B's `output.log`.

    Parameters
    ----------
    name
        Name of the export. It has consoles if it was made `--with console`.
    run
        Id of the run.
    stderr
        Print only what came from standard error.
    tail
        Print only the last N lines.
    raw
        Print lines as they are, even if they can steer the terminal.
    data_root
        The folder that holds the exports.
    """
    from dr_wandb.core.contract.dataset import CONSOLE
    from dr_wandb.shell.store.export_store import ExportStore

    if tail is not None and tail < 0:
        raise InvalidRequestError([f"tail must be 0 or more, not {tail}"])
    store = ExportStore(name=name, data_root=data_root)
    if CONSOLE not in store.require_manifest().other_datasets:
        raise InvalidRequestError([f"{name} has no consoles: sync it with --with console"])
    lines = _chosen(store.iter_console_lines(run_ids=(run,)), stderr=stderr)
    if tail is not None:
        lines = iter(deque(lines, maxlen=tail))
    while some := list(islice(lines, LINES_AT_ONCE)):
        print_result(_as_text(some, raw=raw))
        if reader_is_gone():
            break
    return EXIT_OK


def _chosen(lines: Iterable["ConsoleLine"], *, stderr: bool) -> Iterator[str]:
    return (line.content for line in lines if not stderr or line.level == "error")


def _as_text(lines: Iterable[str], *, raw: bool) -> str:
    """Return lines as text; a terminal gets what cannot steer it, but tabs."""
    from dr_wandb.cli.output import on_terminal
    from dr_wandb.core.contract.wording import printable

    if on_terminal() and not raw:
        lines = ("\t".join(map(printable, line.split("\t"))) for line in lines)
    return "".join(f"{line}\n" for line in lines)
