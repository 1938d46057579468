"""Size and times of files when their digests were last right, so that they need not be read again.

If this record is lost, the files are read once; nothing else is lost.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO

import msgspec

from dr_wandb.shell.store import disk

CHECKED_FILE = ".checked.json"
"""Size, times and inode of files, with their SHA-256."""

_Known = dict[str, tuple[list[int], str]]
_CHECKED = msgspec.json.Decoder(_Known)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, "" if there is no file. It is not read if that is known."""
    look = _look(path)
    if look is None:
        return ""
    return _known_digest(path, look) or disk.sha256_of(path)


def digest_of_open(stream: IO[bytes], path: Path) -> str:
    """Return the SHA-256 of a file that was opened at a path, "" if another one is there now.

    It is not read if that is known. Otherwise a process reads it once, for as long as it stays as
    it is: a copy of an export has other times than those that were recorded.
    """
    look = _look_of(os.fstat(stream.fileno()))
    digest = _known_digest(path, look) or _sha256_once(path, *look)
    return digest if _look(path) == look else ""


@lru_cache(maxsize=64)
def _sha256_once(path: Path, *_look: int) -> str:
    return disk.sha256_of(path)


def find_changed(folder: Path, files: Mapping[str, str]) -> frozenset[str]:
    """Return the files of an export that do not have these digests, by their paths in its folder.

    Those whose digest is known are not read.
    """
    known = _known_in(folder)
    return frozenset(
        name for name, sha256 in files.items() if _digest_in(folder, name, known) != sha256
    )


def _digest_in(folder: Path, name: str, known: _Known) -> str:
    look = _look(folder / name)
    remembered, sha256 = known.get(name, ([], ""))
    return sha256 if look is not None and remembered == look else disk.sha256_of(folder / name)


def _known_digest(path: Path, look: list[int]) -> str:
    """Return the digest that a file had when it looked like this, "" if that is not known."""
    remembered, sha256 = _known_in(path.parent).get(path.name, ([], ""))
    return sha256 if remembered == look else ""


def _known_in(folder: Path) -> _Known:
    try:
        return _CHECKED.decode((folder / CHECKED_FILE).read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}


def _look(path: Path) -> list[int] | None:
    try:
        return _look_of(path.stat())
    except FileNotFoundError:
        return None


def _look_of(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def remember_look(folder: Path, files: Mapping[str, str]) -> None:
    """Record the present size and times of files. files: the SHA-256 of each, by its path there."""
    known = {name: (_look(folder / name), sha256) for name, sha256 in files.items()}
    path, content = folder / CHECKED_FILE, msgspec.json.encode(known)
    if not path.exists() or path.read_bytes() != content:
        disk.replace_file(path, content)
