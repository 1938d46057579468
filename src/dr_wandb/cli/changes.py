"""`wandb-export log NAME` and `wandb-export diff NAME`: the changes that syncs made."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dr_wandb.cli.flags import Folder, Raw, Switch
from dr_wandb.cli.output import print_json, print_json_line, print_lines
from dr_wandb.core.contract.failures import EXIT_OK
from dr_wandb.core.contract.problems import InvalidRequestError


def log(
    name: str,
    /,
    *,
    data_root: Folder = Path("./data"),
    last: int | None = None,
    verbose: Annotated[Switch, Parameter(name=("--verbose", "-v"))] = False,
    compact_before: str | None = None,
    raw: Raw = False,
    json: Switch = False,
) -> int:
    """Print a line for each sync that changed something, oldest first; or make the log smaller.

    Parameters
    ----------
    name
        Name of the export.
    data_root
        The folder that holds the exports.
    last
        Only the last N syncs that changed something.
    verbose
        Print below each line the runs and fields that changed.
    compact_before
        Print nothing of it, but fold the lines of the syncs before this date or time into one. What
        they changed together stays known. UTC if no zone is given.
    raw
        Print names and values as they are, even if they can steer the terminal.
    json
        Print the lines of `changes.jsonl`; with `--compact-before`, its size before and after.
    """
    if compact_before is not None:
        return _compact(name, data_root, compact_before, last, as_json=json)
    from collections import deque

    from dr_wandb.core.sync.describe import describe_changes
    from dr_wandb.shell.inspect.changes import iter_changes

    if last is not None and last < 1:
        raise InvalidRequestError([f"--last must be 1 or more, not {last}"])
    for changes in deque(iter_changes(name, data_root), last):
        if json:
            print_json_line(changes)
        else:
            print_lines(describe_changes(changes, fields=verbose, raw=raw), raw=raw)
    return EXIT_OK


def _compact(
    name: str, data_root: Path, compact_before: str, last: int | None, *, as_json: bool
) -> int:
    from dr_wandb.core.sync.describe import describe_compaction
    from dr_wandb.shell.sync.compaction import compact_changes

    _, start = _moment("--compact-before", compact_before)
    if last is not None:
        raise InvalidRequestError(["--compact-before does not go with --last"])
    done = compact_changes(name, data_root, start)
    if as_json:
        print_json(done)
    else:
        print_lines([describe_compaction(done)])
    return EXIT_OK


def diff(
    name: str,
    /,
    *,
    since: str,
    until: str | None = None,
    data_root: Folder = Path("./data"),
    raw: Raw = False,
    json: Switch = False,
) -> int:
    """Print the combined changes of all syncs since a date or a time, or between two.

    Parameters
    ----------
    name
        Name of the export.
    since
        A date or a time; syncs at this time or later count. UTC if no zone is given.
    until
        A date or a time; syncs before this time count. Without it, all since the first time.
    data_root
        The folder that holds the exports.
    raw
        Print names and values as they are, even if they can steer the terminal.
    json
        Print one JSON document.
    """
    from dr_wandb.core.contract.normalize import instant
    from dr_wandb.core.sync.combine_changes import combine_changes
    from dr_wandb.core.sync.describe import describe_changes
    from dr_wandb.shell.inspect.changes import iter_changes

    moment, start = _moment("--since", since)
    end_text, end = (None, None) if until is None else _moment("--until", until)
    if end is not None and start >= end:
        raise InvalidRequestError(
            [f"--since {moment} is not before --until {end_text}: no sync can be between them"]
        )
    lines = (
        changes
        for changes in iter_changes(name, data_root)
        if (at := instant(changes.at)) is not None and at >= start and (end is None or at < end)
    )
    combined = combine_changes(lines, moment)
    if json:
        print_json(combined)
    else:
        print_lines(describe_changes(combined, since=True, until=end_text, raw=raw), raw=raw)
    return EXIT_OK


def _moment(flag: str, value: str) -> tuple[str, datetime]:
    """Return the date or time of a flag, as text in UTC and as a moment."""
    from dr_wandb.core.contract.criteria import normalize_moment
    from dr_wandb.core.contract.normalize import instant

    moment = normalize_moment(value)
    start = instant(moment)
    if moment is None or start is None:
        raise InvalidRequestError([f"{flag} must be a date or a time, not {value!r}"])
    return moment, start
