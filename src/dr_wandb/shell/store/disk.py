"""The file operations that the tool is built on, each durable when it returns.

Every write of an export uses them, so a test can make any of them fail.
"""

import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

CHUNK = 1 << 20

_CANNOT_COPY = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
"""Errors of a system that cannot copy between two files by itself."""


_HERE, _RENAME_EXCHANGE = -100, 2
"""`AT_FDCWD`, and a flag of renameat2(2), Linux 3.15 and later."""

_CANNOT_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY})


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(stream: IO[bytes]) -> None:
    """Make the bytes written to a file survive a power cut."""
    stream.flush()
    os.fsync(stream.fileno())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, durable but not atomic: for names that nobody reads yet."""
    remove(path)  # a link of that name is not followed
    with path.open("xb") as stream:
        stream.write(content)
        sync_file(stream)


def part_of(path: Path) -> Path:
    """Return the hidden name under which `replace_file` writes a file."""
    return path.with_name(f".{path.name.lstrip('.')}.part")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    staged = part_of(path)
    write_file(staged, content)
    rename(staged, path)
    sync_folder(path.parent)


def rename(source: Path, target: Path) -> None:
    """Give a file its final name, replacing a file of that name."""
    source.replace(target)


def make_folder(path: Path) -> None:
    """Make a folder if it is not there."""
    path.mkdir(exist_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder and everything in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def remove_empty_folder(path: Path) -> None:
    """Remove a folder if it is there and empty."""
    if path.exists() and not any(path.iterdir()):
        path.rmdir()


def link(source: Path, target: Path) -> None:
    """Give a file a second name. Raises OSError if the file system cannot do that."""
    target.hardlink_to(source)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one operation; say whether the system can do that."""
    names = (_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE)
    try:
        failed = ctypes.CDLL(None, use_errno=True).renameat2(*names)
    except AttributeError:
        return False
    if failed and ctypes.get_errno() not in _CANNOT_EXCHANGE:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return not failed


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex, "" if there is no such file."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def read_range(stream: IO[bytes], offset: int, length: int) -> Iterator[bytes]:
    """Read a range of a file in chunks. Raises OSError if the file is too short."""
    stream.seek(offset)
    while length:
        chunk = stream.read(min(CHUNK, length))
        if not chunk:
            raise _too_short(stream, length)
        length -= len(chunk)
        yield chunk


def copy_range(source: IO[bytes], offset: int, length: int, target: IO[bytes]) -> Iterator[bytes]:
    """Append a range of a file to another one and yield the appended bytes in chunks.

    The system copies ranges of at least `CHUNK` if it can: file systems that share extents then
    need no space for them. Raises OSError if the file is too short.
    """
    for chunk in read_range(source, offset, length):
        copied = copy_by_system(source, offset, len(chunk), target) if length >= CHUNK else 0
        target.write(chunk[copied:])
        offset += len(chunk)
        yield chunk


def copy_by_system(source: IO[bytes], offset: int, length: int, target: IO[bytes]) -> int:
    """Let the system append a range of a file to another one; return the bytes it copied."""
    if not hasattr(os, "copy_file_range"):
        return 0
    target.flush()
    copied = 0
    while copied < length:
        position = offset + copied
        try:
            more = os.copy_file_range(source.fileno(), target.fileno(), length - copied, position)
        except OSError as error:
            if error.errno in _CANNOT_COPY:
                break
            raise
        if not more:
            break
        copied += more
    return copied


def read_lines(stream: IO[bytes], offset: int, length: int) -> Iterator[bytes]:
    """Read the lines of a range that begins and ends at the border of a line.

    Raises OSError if the file is too short.
    """
    stream.seek(offset)
    while length > 0:
        line = stream.readline()
        if not line:
            raise _too_short(stream, length)
        length -= len(line)
        yield line


def read_lines_from_end(
    stream: IO[bytes], offset: int, length: int, size: int = 1 << 12
) -> Iterator[bytes]:
    """Read the lines of a range that begins and ends at the border of a line, last first.

    size: bytes of the first read. Each read is twice as long as the one before, up to `CHUNK`, or
    longer if it held no whole line: few lines cost little, and a long one is not read many times.
    Raises OSError if the file is too short.
    """
    rest = b""
    end = offset + length
    while end > offset:
        begin = max(offset, end - size)
        rest = b"".join(read_range(stream, begin, end - begin)) + rest
        end = begin
        rest, *whole = (line + b"\n" for line in rest[:-1].split(b"\n"))
        yield from reversed(whole)
        size = 2 * size if size < CHUNK or not whole else size
    if rest:
        yield rest


def gathered(lines: Iterable[bytes], size: int = CHUNK) -> Iterator[tuple[bytes, int]]:
    """Join lines into chunks of at least `size` bytes; yield each with its number of lines."""
    chunk: list[bytes] = []
    length = 0
    for line in lines:
        chunk.append(line)
        length += len(line)
        if length >= size:
            yield b"".join(chunk), len(chunk)
            chunk, length = [], 0
    if chunk:
        yield b"".join(chunk), len(chunk)


def _too_short(stream: IO[bytes], missing: int) -> OSError:
    return OSError(errno.EIO, f"the file is {missing:,} bytes too short", stream.name)
