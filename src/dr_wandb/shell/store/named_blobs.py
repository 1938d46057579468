"""Compare the blobs of an export with the lines that name them.

Rules
- Each blob comes once, in the order of its name, whether it is named, there, or both.
- Only what a line of `files.jsonl` names is named, and for `remove_unnamed` what a note names too.
  Callers decide what follows from a line that does not read.
- Memory does not grow with the number of blobs.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from heapq import merge
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.records import RunFile
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import FoundBlob, blobs_folder, find_blobs, is_sha256
from dr_wandb.shell.store.decoding import RUN_FILES, decode_file
from dr_wandb.shell.store.sorting import ExternalSorter


class BlobUse(NamedTuple):
    """A blob, and the first file that names it. `file` and `found` are None without one."""

    sha256: str
    file: RunFile | None
    found: FoundBlob | None


class _Named(NamedTuple):
    sha256: str
    run_id: str
    path: str
    size: int | None


def catalogues(folder: Path) -> list[Path]:
    """Return the data files of an export whose lines name blobs."""
    files = (folder / one.file for one in DATASETS.values() if one.has_content)
    return [path for path in files if path.exists()]


def files_in(folder: Path) -> Iterator[RunFile]:
    """Load the lines that name blobs. Raises DrWandbError for one that does not read."""
    for path in catalogues(folder):
        yield from decode_file(path, RUN_FILES)


def blobs_in_use(folder: Path, files: Iterable[RunFile], scratch: Path) -> Iterator[BlobUse]:
    """Compare the blobs of an export with the files that name them. scratch: for what is sorted."""
    sorter: ExternalSorter[_Named] = ExternalSorter(
        scratch, uuid4().hex, key=tuple, revive=_Named._make
    )
    with closing(sorter):
        for file in files:
            if file.sha256 is not None and is_sha256(file.sha256):
                key = _Named(file.sha256, file.run_id, file.path, file.size)
                sorter.add(key, len(file.path))
        firsts = (next(group) for _, group in groupby(sorter, key=lambda one: one.sha256))
        both = merge(
            ((one.sha256, 0, one) for one in firsts),
            ((one.sha256, 1, one) for one in find_blobs(folder)),
            key=lambda one: one[:2],
        )
        for sha256, group in groupby(both, key=lambda one: one[0]):
            sides = [one for _, _, one in group]
            named = next((_file(one) for one in sides if isinstance(one, _Named)), None)
            found = next((one for one in sides if isinstance(one, FoundBlob)), None)
            yield BlobUse(sha256, named, found)


def _file(named: _Named) -> RunFile:
    return RunFile(run_id=named.run_id, path=named.path, size=named.size, sha256=named.sha256)


def remove_unnamed(folder: Path, scratch: Path, noted: Iterable[RunFile] = ()) -> tuple[int, int]:
    """Remove the blobs that no line names. Returns how many, and their bytes.

    noted: files whose blobs stay too, though no line names them yet. Raises DrWandbError if a line
    does not read; then no blob is removed, as all lines are read before the first one.
    """
    if not blobs_folder(folder).exists():
        return 0, 0
    removed = size = 0
    folders = set()
    for use in blobs_in_use(folder, chain(files_in(folder), noted), scratch):
        if use.file is None and use.found is not None:
            disk.remove(use.found.path)
            folders.add(use.found.path.parent)
            removed, size = removed + 1, size + use.found.size
    for one in sorted(folders):
        disk.remove_empty_folder(one)
    return removed, size
