"""What is remembered of `.wandb` files between syncs, so that they are not read again.

It is a cache, in a hidden file of the export: what is missing or does not fit is read again. A file
is not even opened if nothing of it changed that the file system keeps. Otherwise it is taken for
what it was if its size, its time and its last bytes are the same; one that has grown is read on
from where reading ended, if the bytes before that offset are the same.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.contract.version import VERSION
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import RunRecord
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources.offline.forms import RunFile, WandbFile
from dr_wandb.shell.store import disk

INDEX_FILE = ".offline.json"
TAIL_BYTES = 1 << 12

FORM = 8
"""What a fold means. It goes up when that changes, so that all files are read again."""


class KnownFile(Record, frozen=True, kw_only=True):
    """A file and what was read of it.

    tail: the digest of the last bytes before `reading.end`. base: the digest of what the earlier
    files of the same run said, "" for the first. named: what the file calls its run. beside: of
    which files beside it that is known. inode, changed_ns: see `FileOnDisk`.
    """

    size: int
    modified_ns: int
    tail: str
    base: str
    named: RunRecord | None
    reading: FileReading
    beside: str = ""
    inode: int = 0
    changed_ns: int = 0


class ComparedFile(Record, frozen=True, kw_only=True):
    """A file that was compared with another one. tail: the digest of its last bytes."""

    name: str
    size: int
    modified_ns: int
    tail: str


class Comparison(Record, frozen=True, kw_only=True):
    """Whether one file is a copy of another one, or of the beginning of it.

    repairs: the byte ranges that can be read in this one, a damaged copy, and not in the other one.
    """

    part: ComparedFile
    whole: ComparedFile
    copy: bool
    repairs: tuple[tuple[int, int], ...] = ()


class Known(Record, frozen=True, kw_only=True):
    """What is remembered: the files by their names below the folder, and how they compare."""

    files: Mapping[str, KnownFile] = {}
    comparisons: tuple[Comparison, ...] = ()


class OfflineIndex(Known, frozen=True, kw_only=True):
    """What is remembered of `folder`. version, form: of the tool that read them."""

    version: str
    form: int = 0
    folder: str


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(OfflineIndex)


class LoadedIndex(NamedTuple):
    """What is known, and the digest of the file that says so; "" if there is none."""

    known: Known
    digest: str


def load_index(path: Path, folder: Path) -> LoadedIndex:
    """Load what is known of the files below a folder, nothing if that is not known."""
    with suppress(OSError, msgspec.MsgspecError, ValueError, RecursionError):
        content = path.read_bytes()
        index = _DECODER.decode(content)
        if (index.version, index.form) == (VERSION, FORM) and index.folder == _spell(folder):
            known = Known(files=index.files, comparisons=index.comparisons)
            return LoadedIndex(known, digest(content))
    return LoadedIndex(Known(), "")


def save_index(path: Path, folder: Path, known: Known) -> str:
    """Remember what is known, if it is something new; returns the digest of the file.

    "" if it cannot be written: then nothing is lost, but files are read again.
    """
    index = OfflineIndex(
        version=VERSION,
        form=FORM,
        folder=_spell(folder),
        files=known.files,
        comparisons=known.comparisons,
    )
    content = _ENCODER.encode(index)
    with suppress(OSError):
        if path.read_bytes() == content:
            return digest(content)
    try:
        disk.replace_file(path, content)
    except OSError as error:
        LOGGER.info("%s cannot be written, files will be read again: %s", path, error)
        return ""
    return digest(content)


def _spell(folder: Path) -> str:
    return clean_text(str(folder.resolve()))


def digest_of_tail(data: memoryview, end: int) -> str:
    """Return the digest of the bytes before an offset of a file."""
    return hashlib.blake2b(data[max(0, end - TAIL_BYTES) : end], digest_size=16).hexdigest()


def digest_of_fold(reading: FileReading) -> str:
    """Return a digest of what a file and those before it say of their run."""
    return hashlib.blake2b(_ENCODER.encode(reading.fold), digest_size=16).hexdigest()


def is_untouched(file: RunFile, known: KnownFile) -> bool:
    """Say whether nothing of a file changed, so that it need not be opened."""
    return (
        file.size == known.size
        and file.modified_ns == known.modified_ns
        and file.changed_ns == known.changed_ns
        and file.inode == known.inode
        and file.beside == known.beside
    )


def is_as_known(file: RunFile, data: memoryview, known: KnownFile) -> bool:
    """Say whether a file is what it was, or has only grown since."""
    if isinstance(file, WandbFile) and file.beside != known.beside:
        return False  # other parts of it are read in its copies
    if file.size < known.reading.end or file.size < known.size:
        return False
    if file.size == known.size and file.modified_ns != known.modified_ns:
        return False
    return digest_of_tail(data, known.reading.end) == known.tail
