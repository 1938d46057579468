"""The files that a run's client named for an upload and that are not in the folder of the run.

Rules
- A name is that of a file in the folder also if its slashes are backslashes, as on Windows, if its
  wildcards are in brackets, as clients before 0.24 spelled those of media, or if it has parts that
  lead nowhere.
- A name of a folder that has files, or of the whole folder, is no file.
- All other names are missing, each once, in order. They lead nowhere: no path is made of them.

Everything here is total and pure.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator

from dr_wandb.core.contract.file_names import spell_name

_ESCAPED = re.compile(r"\[([*?[])\]")
_WILDCARD = re.compile(r"[*?[]")


def without_escapes(pattern: str) -> str:
    """Return the name that fits a pattern without wildcards."""
    return _ESCAPED.sub(r"\1", pattern)


def is_pattern(text: str) -> bool:
    """Say whether a text has wildcards, beside those that stand for themselves."""
    return _WILDCARD.search(_ESCAPED.sub("", text)) is not None


def missing_files(named: Iterable[str], found: Collection[str]) -> list[str]:
    """Return the names that no file has. found: the names of the files in the folder, spelled."""
    there = {".", *found, *(folder for name in found for folder in _folders(name))}
    return sorted(
        {
            _spelled(without_escapes(name))
            for name in named
            if there.isdisjoint(map(_spelled, _readings(name)))
        }
    )


def _spelled(name: str) -> str:
    return spell_name(posixpath.normpath(name))


def _readings(name: str) -> Iterator[str]:
    yield name
    yield name.replace("\\", "/")
    yield without_escapes(name)


def _folders(name: str) -> Iterator[str]:
    parts = name.split("/")
    yield from ("/".join(parts[:depth]) for depth in range(1, len(parts)))
