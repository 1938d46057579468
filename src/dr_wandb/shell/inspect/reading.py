"""Read a data file from beginning to end."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.inspect.audit import FileTally
from dr_wandb.core.inspect.audit_records import RecordsAudit
from dr_wandb.shell.store.divided_lines import read_divided

CHUNK_BYTES = 1 << 18
"""How many bytes are digested together: they stay in the processor's cache."""

Look = tuple[int, ...]
"""Size, times and inode of a file, which change if it does."""


def look_at(status: os.stat_result) -> Look:
    """Return what a file looks like."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class ReadFile(NamedTuple):
    """What a data file is. `torn`: its last line has no newline; it is counted as a line."""

    lines: int
    bytes: int
    sha256: str
    torn: bool

    @property
    def file(self) -> DataFile:
        """Return it as a manifest has it."""
        return DataFile(lines=self.lines, bytes=self.bytes, sha256=self.sha256)


class Audit(Protocol):
    """A check of a file, line by line."""

    def add(self, line: bytes) -> None:
        """Check the next line."""

    def finish(self) -> None:
        """End the check."""


def read_lines(path: Path, audit: Audit, arrived: Callable[[int], None]) -> ReadFile:
    """Read each line of a file for a check. arrived: called with the bytes that were read."""
    tally = FileTally()
    with path.open("rb") as stream:
        for line in stream:
            tally.add(line)
            audit.add(line)
            arrived(len(line))
    audit.finish()
    file = tally.file
    return ReadFile(file.lines, file.bytes, file.sha256, tally.torn)


def read_records(path: Path, audit: RecordsAudit, arrived: Callable[[int], None]) -> ReadFile:
    """Read each line of a file of records for a check, of a long line its frame and its content."""
    sha256, lines, size, torn = hashlib.sha256(), 0, 0, False

    def note(piece: bytes) -> None:
        sha256.update(piece)
        arrived(len(piece))

    with path.open("rb") as stream:
        for line in read_divided(stream, audit.kind, note):
            lines += 1
            size += line.line.length
            torn = not line.frame.endswith(b"\n")
            content = None if line.text is not None else line.content
            if content is None or not audit.add_divided(line.frame, content.chunks()):
                audit.add(line.whole)
    audit.finish()
    return ReadFile(lines, size, sha256.hexdigest(), torn)


def read_bytes(path: Path, arrived: Callable[[int], None]) -> ReadFile:
    """Count and digest a file without looking at its lines."""
    sha256, lines, size, last = hashlib.sha256(), 0, 0, b"\n"
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha256.update(chunk)
            lines += chunk.count(b"\n")
            size += len(chunk)
            last = chunk[-1:]
            arrived(len(chunk))
    torn = last != b"\n"
    return ReadFile(lines + torn, size, sha256.hexdigest(), torn)
