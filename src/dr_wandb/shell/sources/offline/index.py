"""The index of `.wandb` files that were read, so that the next sync does not read them again.

It is a cache, in a hidden file of the export: a file that is missing in it or does not match is
read again. A file is not opened if its size, times and inode did not change. Otherwise it counts as
unchanged if its size, its time and its last bytes are the same; one that has grown is read on
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
"""The version of a fold's meaning. Raise it if that changes, so that all files are read again."""


class KnownFile(Record, frozen=True, kw_only=True):
    """A file and its reading.

    tail: the digest of the last bytes before `reading.end`. base: the digest of the fold of the
    run's earlier files, "" for the first. named: the record that names its run. beside: as in
    `RunFile` when it was read. inode, changed_ns: see `FileOnDisk`.
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
    """A file that was compared with another. tail: the digest of its last bytes."""

    name: str
    size: int
    modified_ns: int
    tail: str


class Comparison(Record, frozen=True, kw_only=True):
    """Whether one file is a copy of another one, or of its beginning.

    repairs: the byte ranges that read in the first, a damaged copy, and not in the other one.
    """

    part: ComparedFile
    whole: ComparedFile
    copy: bool
    repairs: tuple[tuple[int, int], ...] = ()


class MissingFiles(Record, frozen=True, kw_only=True):
    """The files that a run's client named and that are not in its folder.

    mark: changes if the files in the folder do, or what the client wrote.
    """

    mark: str
    names: tuple[str, ...]


class Known(Record, frozen=True, kw_only=True):
    """The files that were read, by their names below the folder, and their comparisons.

    missing: by run id; only of runs whose files were requested.
    """

    files: Mapping[str, KnownFile] = {}
    comparisons: tuple[Comparison, ...] = ()
    missing: Mapping[str, MissingFiles] = {}


class OfflineIndex(Known, frozen=True, kw_only=True):
    """The known files of `folder`. version, form: of the tool that read them."""

    version: str
    form: int = 0
    folder: str


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(OfflineIndex)


class LoadedIndex(NamedTuple):
    """The known files, and the digest of the index file; "" if there is none."""

    known: Known
    digest: str


def load_index(path: Path, folder: Path) -> LoadedIndex:
    """Load the known files below a folder; none if there is no usable index."""
    with suppress(OSError, msgspec.MsgspecError, ValueError, RecursionError):
        content = path.read_bytes()
        index = _DECODER.decode(content)
        if (index.version, index.form) == (VERSION, FORM) and index.folder == _spell(folder):
            known = Known(files=index.files, comparisons=index.comparisons, missing=index.missing)
            return LoadedIndex(known, digest(content))
    return LoadedIndex(Known(), "")


def save_index(path: Path, folder: Path, known: Known) -> str:
    """Write the index if it changed; returns the digest of the file.

    Returns "" if it cannot be written: then nothing is lost, but files are read again.
    """
    index = OfflineIndex(
        version=VERSION,
        form=FORM,
        folder=_spell(folder),
        files=known.files,
        comparisons=known.comparisons,
        missing=known.missing,
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
    """Return a digest of the fold of a file and those before it."""
    return hashlib.blake2b(_ENCODER.encode(reading.fold), digest_size=16).hexdigest()


def is_untouched(file: RunFile, known: KnownFile) -> bool:
    """Say whether a file is unchanged by its size, times and inode, and need not be opened."""
    return (
        file.size == known.size
        and file.modified_ns == known.modified_ns
        and file.changed_ns == known.changed_ns
        and file.inode == known.inode
        and file.beside == known.beside
    )


def is_as_known(file: RunFile, data: memoryview, known: KnownFile) -> bool:
    """Say whether a file is unchanged, or has only grown since."""
    if isinstance(file, WandbFile) and file.beside != known.beside:
        return False  # other parts of it are read from its copies
    if file.size < known.reading.end or file.size < known.size:
        return False
    if file.size == known.size and file.modified_ns != known.modified_ns:
        return False
    return digest_of_tail(data, known.reading.end) == known.tail
