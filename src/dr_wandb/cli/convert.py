"""`wandb-export convert NAME`: write the history of an export to a file in another form."""

from pathlib import Path
from typing import Literal

from dr_wandb.cli.flags import Folder, Switch
from dr_wandb.cli.output import print_json, print_lines
from dr_wandb.cli.screen import screen
from dr_wandb.core.contract.failures import EXIT_OK


def convert(
    name: str,
    /,
    *,
    to: Literal["jsonl"],
    out: Folder,
    data_root: Folder = Path("./data"),
    overwrite: Switch = False,
    json: Switch = False,
) -> int:
    """Write the history of an export to a file, as the lines of its `history.jsonl`.

    The bytes are the same whether the export has JSON lines or only Parquet. Needs no network, and
    changes nothing in the export.

    Parameters
    ----------
    name
        Name of the export.
    to
        The form of the file.
    out
        The file to write, outside of the export. It appears when it is complete.
    data_root
        The folder that holds the exports.
    overwrite
        Replace a file of that name.
    json
        Print one JSON document.
    """
    from dr_wandb.core.contract.conversion import describe_conversion
    from dr_wandb.shell.progress import say_nothing
    from dr_wandb.shell.store.converting import write_history_lines
    from dr_wandb.shell.store.export_store import ExportStore

    store = ExportStore(name=name, data_root=data_root)
    with screen() as watched:
        done = write_history_lines(store, out, overwrite=overwrite, progress=watched or say_nothing)
    print_json(done) if json else print_lines([describe_conversion(done)])
    return EXIT_OK
