"""`wandb-export scan DIR`: list the runs in a folder of `.wandb` files."""

from pathlib import Path

from dr_wandb.cli.flags import Raw, Switch
from dr_wandb.cli.output import print_error, print_json, print_lines
from dr_wandb.core.contract.failures import EXIT_OK, EXIT_PARTIAL


def scan(
    folder: Path = Path("./wandb"),
    /,
    *,
    raw: Raw = False,
    json: Switch = False,
) -> int:
    """List the runs in a folder that training scripts wrote, as `--source offline:DIR` reads them.

    Reads only, and needs neither a network nor an API key.

    Parameters
    ----------
    folder
        A `wandb` folder, the folder of one run, or a tree with many of them.
    raw
        Print names and values as they are, even if they can steer the terminal.
    json
        Print one JSON document.
    """
    from dr_wandb.core.offline.scan_report import describe_folder, describe_problems
    from dr_wandb.shell.inspect.scan import scan_folder

    content = scan_folder(folder)
    print_json(content) if json else print_lines(describe_folder(content, raw=raw), raw=raw)
    for line in describe_problems(content):
        print_error(line)
    return EXIT_PARTIAL if content.unread else EXIT_OK
