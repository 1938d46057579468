"""Size and times of files when their digests were last right, so that they need not be read again.

If this record is lost, the files are read once; nothing else is lost.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from dr_wandb.shell.store import disk

CHECKED_FILE = ".checked.json"
"""Size, times and inode of files, with their SHA-256."""

_CHECKED = msgspec.json.Decoder(dict[str, tuple[list[int], str]])


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, "" if there is no file. It is not read if that is known."""
    if _look(path) is None:
        return ""
    try:
        known = _CHECKED.decode((path.parent / CHECKED_FILE).read_bytes())
    except (OSError, msgspec.DecodeError):
        known = {}
    look, sha256 = known.get(path.name, ([], ""))
    return sha256 if look == _look(path) else disk.sha256_of(path)


def _look(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def remember_look(folder: Path, files: Mapping[str, str]) -> None:
    """Record the present size and times of files. files: the SHA-256 of each, by name."""
    known = {name: (_look(folder / name), sha256) for name, sha256 in files.items()}
    path, content = folder / CHECKED_FILE, msgspec.json.encode(known)
    if not path.exists() or path.read_bytes() != content:
        disk.replace_file(path, content)
