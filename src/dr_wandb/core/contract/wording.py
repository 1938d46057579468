"""Numbers, sizes, times and scopes in words, for messages to people."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

import msgspec
from msgspec.structs import asdict, replace

from dr_wandb.core.contract.amounts import count as count
from dr_wandb.core.contract.amounts import size_in_words as size_in_words
from dr_wandb.core.contract.failures import Failure
from dr_wandb.core.contract.scope import RunScope, chosen_in


def ago(seconds: int | None) -> str:
    """Say how long ago something was, in the largest unit of which there are two."""
    if seconds is None:
        return "never"
    if seconds < 0:
        return "in the future"
    past = timedelta(seconds=seconds)
    for unit, length in (
        ("day", timedelta(days=1)),
        ("hour", timedelta(hours=1)),
        ("minute", timedelta(minutes=1)),
    ):
        if past >= 2 * length:
            return f"{past // length} {unit}s ago"
    return f"{count(seconds, 'second')} ago"


def clock_time(seconds: float) -> str:
    """Say a time as a clock does: `0:07`, `12:30`, `1:02:03`."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Say how long something took: `0.4 s`, `12 s`, `2 min 5 s`, `1 h 2 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def printable(text: str, most: int | None = None) -> str:
    """Return text that stays in its line and cannot steer a terminal, cut to `most` characters."""
    shown = text
    if not text.isprintable():
        shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return shown if most is None or len(shown) <= most else f"{shown[: most - 3]}..."


def as_lines(lines: Iterable[str], *, raw: bool) -> tuple[str, ...]:
    """Return lines of text, each as `printable` makes it unless they are wanted `raw`."""
    return tuple(lines) if raw else tuple(map(printable, lines))


def failure_in_words(failure: Failure) -> str:
    """Describe a failure in its one or two lines, whatever the names and reasons in it hold."""
    shown = {
        name: printable(value) if isinstance(value, str) else tuple(map(printable, value))
        for name, value in asdict(failure).items()
        if isinstance(value, str | tuple)
    }
    return replace(failure, **shown).describe()


def printable_json(text: str) -> str:
    """Return JSON of the same value that cannot steer a terminal, in the same lines."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text
    )


def quoted(name: str) -> str:
    """Return a name in quotes: what cannot be printed in it is for `printable` to escape."""
    return f"'{name}'"


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> tuple[str, ...]:
    """Return the lines of a table whose first row is its head; `right` are columns of numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return tuple(
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def scope_in_words(scope: RunScope | None) -> str:
    """Say a scope in words."""
    if scope is None:
        return "every run"
    parts = [f"{criterion.word} {' or '.join(wanted)}" for criterion, wanted in chosen_in(scope)]
    if scope.filters is not None:
        parts.append(f"filter {msgspec.json.encode(scope.filters, order='sorted').decode()}")
    return "; ".join(parts) or "every run"
