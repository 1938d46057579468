"""Which files of runs to fetch, beside what is known of every file.

Rules
- A choice is about bytes alone: the catalogue names every file of a run under any choice.
- Patterns are matched here, against whole paths: W&B's own patterns have other wildcards.
- Bytes that are held stay, whatever a later choice says.
"""

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache

from msgspec.structs import force_setattr

from dr_wandb.core.contract.problems import InvalidRequestError, is_count
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import clean_text

MEDIA = "media/"
"""The folder of a run in which W&B keeps what is logged as media (wandb 0.31.0)."""


class FileChoice(Record, omit_defaults=True, frozen=True, kw_only=True):
    """Which files to fetch. `fetch`: any at all; without it, only the catalogue is wanted.

    `patterns`: fetch a file if one of these fits its path; None for every file. `*` fits any text,
    also one with a slash; `?` and `[...]` are as in a shell. `media`: files below `media/` too.
    `max_bytes`: no larger ones.
    """

    fetch: bool = True
    patterns: tuple[str, ...] | None = None
    media: bool = True
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if isinstance(self.patterns, str):
            force_setattr(self, "patterns", (self.patterns,))
        if self.patterns is not None:
            if not all(isinstance(one, str) and one for one in self.patterns):
                problems.append("a pattern of files must not be blank")
            else:
                patterns = {clean_text(one) for one in self.patterns}
                force_setattr(self, "patterns", tuple(sorted(patterns)) or None)
        if self.max_bytes is not None and not is_count(self.max_bytes, 0):
            problems.append(f"the largest size of a file must be 0 or more, not {self.max_bytes!r}")
        if problems:
            raise InvalidRequestError(problems)

    def admits(self, path: str) -> bool:
        """Say whether a file of this path is wanted, of whatever size."""
        if not self.fetch or (not self.media and path.startswith(MEDIA)):
            return False
        return self.patterns is None or any(_fits(one, path) for one in self.patterns)

    def too_large(self, size: int | None) -> bool:
        """Say whether a file of this size is larger than wanted; an unknown size is not."""
        return self.max_bytes is not None and size is not None and size > self.max_bytes

    def covers(self, other: "FileChoice") -> bool:
        """Say whether it surely wants every file that another choice wants."""
        if not other.fetch or self == other:
            return True
        if not self.fetch or (other.media and not self.media):
            return False
        patterns = self.patterns is None or (
            other.patterns is not None and {*other.patterns} <= {*self.patterns}
        )
        sizes = self.max_bytes is None or (
            other.max_bytes is not None and other.max_bytes <= self.max_bytes
        )
        return patterns and sizes


EVERY_FILE = FileChoice()
"""The choice that wants the bytes of every file."""

NO_FILE = FileChoice(fetch=False)
"""The choice that wants what is known of files alone."""


def build_file_choice(
    *, patterns: Iterable[str] | None = None, no_media: bool = False, max_bytes: int | None = None
) -> FileChoice | None:
    """Make a choice from the flags of the command line, None if none is given."""
    choice = FileChoice(
        patterns=None if patterns is None else tuple(patterns),
        media=not no_media,
        max_bytes=max_bytes,
    )
    return None if choice == EVERY_FILE else choice


def files_in_words(choice: FileChoice) -> str:
    """Describe a choice in words."""
    if not choice.fetch:
        return "no files"
    parts = [f"files {', '.join(choice.patterns)}"] if choice.patterns else []
    parts += [] if choice.media else ["no media"]
    parts += [] if choice.max_bytes is None else [f"at most {choice.max_bytes:,} bytes"]
    return "; ".join(parts) or "every file"


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", re.IGNORECASE | re.ASCII)


def read_size(text: str) -> int:
    """Read a number of bytes, such as `1000`, `20kB`, `1.5 MB` or `2G`; a kB is 1,000 bytes.

    Raises InvalidRequestError.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise InvalidRequestError([f"a size is a number of bytes, or like 20MB, not {text!r}"])
    return int(float(found[1]) * _UNITS[found[2].lower()])


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


def _fits(pattern: str, path: str) -> bool:
    return _pattern(pattern).match(path) is not None
