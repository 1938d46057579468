"""`wandb-export log NAME` and `wandb-export diff NAME`: the changes that syncs made."""

from pathlib import Path

from dr_wandb.cli.flags import Folder, Switch
from dr_wandb.cli.output import print_json, print_lines, print_result
from dr_wandb.core.contract.failures import EXIT_OK
from dr_wandb.core.contract.problems import InvalidRequestError


def log(
    name: str,
    /,
    *,
    data_root: Folder = Path("./data"),
    last: int | None = None,
    json: Switch = False,
) -> int:
    """Print what each sync changed, oldest first.

    Parameters
    ----------
    name
        Name of the export.
    data_root
        The folder that holds the exports.
    last
        Only the last N syncs that changed something.
    json
        Print the lines of `changes.jsonl`.
    """
    from collections import deque

    from dr_wandb.core.contract.codec import encode_line
    from dr_wandb.core.sync.describe import describe_changes
    from dr_wandb.shell.inspect.changes import iter_changes

    if last is not None and last < 1:
        raise InvalidRequestError([f"last must be 1 or more, not {last}"])
    for changes in deque(iter_changes(name, data_root), last):
        text = (
            encode_line(changes).decode() if json else "\n".join((*describe_changes(changes), ""))
        )
        print_result(text)
    return EXIT_OK


def diff(
    name: str,
    /,
    *,
    since: str,
    data_root: Folder = Path("./data"),
    json: Switch = False,
) -> int:
    """Print the combined changes of all syncs since a date or a time.

    Parameters
    ----------
    name
        Name of the export.
    since
        A date or a time; syncs at this time or later count. UTC if no zone is given.
    data_root
        The folder that holds the exports.
    json
        Print one JSON document.
    """
    from dr_wandb.core.contract.criteria import normalize_moment
    from dr_wandb.core.contract.normalize import instant
    from dr_wandb.core.sync.combine_changes import combine_changes
    from dr_wandb.core.sync.describe import describe_changes
    from dr_wandb.shell.inspect.changes import iter_changes

    moment = normalize_moment(since)
    start = instant(moment)
    if moment is None or start is None:
        raise InvalidRequestError([f"since must be a date or a time, not {since!r}"])
    lines = (
        changes
        for changes in iter_changes(name, data_root)
        if (at := instant(changes.at)) is not None and at >= start
    )
    combined = combine_changes(lines, moment)
    if json:
        print_json(combined)
    else:
        print_lines(describe_changes(combined, since=True))
    return EXIT_OK
