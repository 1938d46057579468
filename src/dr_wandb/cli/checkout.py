"""`wandb-export checkout NAME DIR`: the files of an export as a tree."""

from pathlib import Path

from dr_wandb.cli.flags import Files, Folder, Raw, Several, Switch
from dr_wandb.cli.output import print_json, print_lines
from dr_wandb.core.contract.failures import EXIT_DAMAGED, EXIT_OK, EXIT_PARTIAL


def checkout(
    name: str,
    folder: Folder,
    /,
    *,
    run: Several = None,
    file_patterns: Files = None,
    link: Switch = False,
    data_root: Folder = Path("./data"),
    raw: Raw = False,
    json: Switch = False,
) -> int:
    """Write the files of runs that an export holds into a folder, as `runs/RUN/files/PATH`.

    Names that a disk may not allow are spelled differently; INDEX.jsonl in the folder maps them.
    Files of others, and those that were changed since, are never replaced. Needs no network.

    Parameters
    ----------
    name
        Name of the export. It has files if it was made `--with files`.
    folder
        The folder to write to. It may have files of an earlier checkout.
    run
        Only files of the run with this id; repeatable.
    file_patterns
        Only files whose path fits this pattern, such as `*.yaml`; repeatable.
    link
        Make hard links to the bytes in the export instead of copies. They may only be read.
    data_root
        The folder that holds the exports.
    raw
        Print names as they are, even if they can steer the terminal.
    json
        Print one JSON document.
    """
    from dr_wandb.core.contract.checked_out import describe_checkout
    from dr_wandb.shell.store.checkout import check_out
    from dr_wandb.shell.store.export_store import ExportStore

    store = ExportStore(name=name, data_root=data_root)
    done = check_out(store, folder, run_ids=run, patterns=file_patterns, link=link)
    if json:
        print_json(done)
    else:
        print_lines(describe_checkout(done), raw=raw)
    if done.damaged:
        return EXIT_DAMAGED
    return EXIT_OK if done.complete else EXIT_PARTIAL
