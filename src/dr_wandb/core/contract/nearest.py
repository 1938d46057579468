"""Names that are spelled nearly like a name that is not there."""

import re
from collections.abc import Iterable

from dr_wandb.core.contract.wording import printable

NEAR = 0.7
"""How alike the spelling of a suggested name has to be, from 0 to 1 (`difflib`)."""

MOST_NEAR = 3
"""At most this many names are suggested."""


def nearest(value: str, names: Iterable[str]) -> list[str]:
    """Return the names that are spelled nearly like a value: as a whole, or their last parts."""
    from difflib import get_close_matches

    others = sorted({*names} - {value})
    found = get_close_matches(value, others, n=MOST_NEAR, cutoff=NEAR)
    last_parts: dict[str, list[str]] = {}
    for name in others:
        last_parts.setdefault(re.split(r"[/.]", name)[-1], []).append(name)
    for part in get_close_matches(value, last_parts, n=MOST_NEAR, cutoff=NEAR):
        found += [name for name in last_parts[part] if name not in found]
    return found[:MOST_NEAR]


def did_you_mean(value: str, names: Iterable[str]) -> str:
    """Return a question to end a message with, "" if no name is near."""
    found = [printable(name) for name in nearest(value, names)]
    if not found:
        return ""
    either = found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"
    return f"; did you mean {either}?"
