"""Put the files of an export into a folder, under names for people.

Rules
- Names are those of `core.contract.safe_names`; `INDEX.jsonl` maps them.
- A file is replaced only if the index names it with the bytes that it still has. One with the right
  bytes is left as it is, whoever put it there. One that cannot be read stays.
- The index names files before they are written, so those of a checkout that was stopped are known
  to the next one. It may have two lines for a file then: the bytes before, and the new ones.
- No link is followed: one in the way is somebody else's.
- Bytes are copied under a hidden name, made durable and hashed; then the file gets its name. With
  `link` a file is a further name of its blob, which may not be written to.
- A stop waits for no copy under way. The folder of hidden names goes, so that it gets no other.
- If a sync replaces files meanwhile, and `--prune` removes their bytes, the newer ones are taken.
- Nothing in the export changes.
"""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from itertools import groupby
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple
from uuid import uuid4

import msgspec

from dr_wandb.core.contract.checked_out import CheckedOut, IndexEntry
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.dataset import DATASETS, FILES
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.safe_names import safe_part, tree_of
from dr_wandb.core.contract.values import clean_text
from dr_wandb.shell.background import DaemonThreads, InOrder
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import blob_path, is_sha256, size_of
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.guards import require_own_folder
from dr_wandb.shell.store.lock import locked

INDEX = "INDEX.jsonl"

HIDDEN = ".wandb-export-checkout"
"""The folder of a checkout at work: in the target, as files get their names by renaming them."""

AGAIN = "check out"

WRITERS = 4
"""How many files are written at once: a disk makes several durable in the time of one."""


class _Outcome(Enum):
    """What became of a file."""

    WRITTEN = auto()
    SAME = auto()
    IN_THE_WAY = auto()
    DAMAGED = auto()


_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of a link to another disk or user, or on a disk that has none."""

_THERE = (_Outcome.WRITTEN, _Outcome.SAME)

_Index = dict[str, tuple[IndexEntry, ...]]
"""The entries of each file: several if a checkout was stopped."""


class _Plan(NamedTuple):
    """The files to put into a folder, and how many others have no bytes in the export."""

    manifest: ExportManifest
    entries: list[IndexEntry]
    absent: int


def check_out(
    store: ExportStore,
    target: Path,
    *,
    run_ids: Iterable[str] | None = None,
    patterns: Iterable[str] | None = None,
    link: bool = False,
) -> CheckedOut:
    """Put files of an export into a folder: `runs/<run>/files/<path>`.

    run_ids: of these runs. patterns: of these paths, as `FileChoice` has them. link: as further
    names of the blobs instead of copies. Raises InvalidRequestError for a folder in the export, or
    an export without files, and DrWandbError if another checkout is at work in the folder.
    """
    wanted = None if run_ids is None else tuple(run_ids)
    choice = FileChoice(patterns=None if patterns is None else tuple(patterns))
    _require_apart(store.export_dir, target)
    plan = _plan(store, wanted, choice)
    hidden = target / HIDDEN
    with disk_refusals(target, exactly=True, again=AGAIN):
        require_own_folder(hidden)
        with locked(hidden, "folder"):
            try:
                checkout = _Checkout(store.export_dir, target, Path(mkdtemp(dir=hidden)), link=link)
                while (done := checkout.write(plan)).damaged:
                    if store.require_manifest() == plan.manifest:
                        break
                    plan = _plan(store, wanted, choice)
            finally:
                with suppress(OSError):  # a copy of a checkout that was stopped may be under way
                    disk.remove_folder(hidden)
    return done


def _require_apart(export_dir: Path, target: Path) -> None:
    export, folder = (Path(os.path.realpath(one)) for one in (export_dir, target))
    if export == folder or export in folder.parents or folder in export.parents:
        raise InvalidRequestError([f"{target} is not apart from the export: choose another folder"])
    if os.path.lexists(target) and not target.is_dir():
        raise InvalidRequestError([f"{target} is not a folder: choose one"])


def _plan(store: ExportStore, run_ids: Iterable[str] | None, choice: FileChoice) -> _Plan:
    manifest = store.require_manifest()
    if DATASETS[FILES].file not in manifest.files:
        raise InvalidRequestError([f"{store.name} has no files: sync it with --with files"])
    folders = tree_of({row.run_id for row in store.iter_files()})
    entries, absent = [], 0
    for run_id, rows in groupby(store.iter_files(run_ids=run_ids), lambda row: row.run_id):
        by_path = {row.path: row for row in rows}
        folder = folders.get(run_id) or safe_part(run_id)
        for path, name in tree_of(by_path).items():
            sha256, size = by_path[path].sha256, by_path[path].size or 0
            file = f"runs/{folder}/files/{name}"
            if not choice.admits(path):
                continue
            if sha256 is None or not is_sha256(sha256):
                absent += 1
            else:
                entry = IndexEntry(file=file, run_id=run_id, path=path, sha256=sha256, size=size)
                entries.append(entry)
    return _Plan(manifest, entries, absent)


class _Checkout:
    """One checkout into a folder. `write` may be called again, with another plan."""

    def __init__(self, export_dir: Path, target: Path, staging: Path, *, link: bool) -> None:
        self._export_dir = export_dir
        self._target = target
        self._staging = staging
        self._link = link
        self._index = self._saved = _read_index(target / INDEX)
        self._own_folders = {target}
        self._changed_folders: set[Path] = set()
        self._written: dict[str, int] = {}

    def write(self, plan: _Plan) -> CheckedOut:
        """Name the files in the index, put them in place, and name those that are there."""
        self._save(_merged(self._index, plan.entries))
        outcomes = self._put_all(plan.entries)
        for folder in sorted(self._changed_folders):
            disk.sync_folder(folder)
        there = {entry.file: (entry,) for entry in outcomes if outcomes[entry] in _THERE}
        self._index = {
            file: entries
            for file, entries in {**self._index, **there}.items()
            if os.path.lexists(self._target / file)
        }
        self._save(self._index)
        return self._summary(outcomes, plan)

    def _save(self, index: _Index) -> None:
        if index != self._saved:
            lines = (encode_line(entry) for file in sorted(index) for entry in index[file])
            disk.replace_file(self._target / INDEX, b"".join(lines))
            self._saved = index

    def _summary(self, outcomes: Mapping[IndexEntry, _Outcome], plan: _Plan) -> CheckedOut:
        found = {kind: [one.file for one in outcomes if outcomes[one] is kind] for kind in _Outcome}
        return CheckedOut(
            folder=clean_text(str(self._target)),
            files=len(self._written),
            bytes=sum(self._written.values()),
            same=len({*found[_Outcome.SAME]} - {*self._written}),
            absent=plan.absent,
            in_the_way=tuple(found[_Outcome.IN_THE_WAY]),
            damaged=tuple(found[_Outcome.DAMAGED]),
        )

    def _put_all(self, entries: Sequence[IndexEntry]) -> dict[IndexEntry, _Outcome]:
        threads = DaemonThreads(WRITERS)
        try:
            outcomes = InOrder(threads, self._put, entries, 4 * WRITERS)
            return dict(zip(entries, outcomes, strict=True))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _put(self, entry: IndexEntry) -> _Outcome:
        """Put a file in place, if nothing else is there."""
        path, blob = self._target / entry.file, blob_path(self._export_dir, entry.sha256)
        if not self._make_folders(path.parent):
            return _Outcome.IN_THE_WAY
        if os.path.lexists(path):
            known = (entry, *self._index.get(entry.file, ()))
            found = _digest_at(path, blob, known)
            if found == entry.sha256:
                return _Outcome.SAME
            if found not in {one.sha256 for one in known}:
                return _Outcome.IN_THE_WAY
        staged = self._staging / uuid4().hex
        try:
            if not self._stage(blob, staged, entry):
                return _Outcome.DAMAGED
            with disk_refusals(path, again=AGAIN):
                disk.rename(staged, path)
        finally:
            disk.remove(staged)
        self._changed_folders.add(path.parent)
        self._written[entry.file] = entry.size
        return _Outcome.WRITTEN

    def _make_folders(self, folder: Path) -> bool:
        """Make the folders of a file; say whether all of them are folders of their own."""
        if folder in self._own_folders:
            return True
        if not self._make_folders(folder.parent):
            return False
        with suppress(FileExistsError):
            folder.mkdir()
            self._changed_folders.add(folder.parent)
        if folder.is_symlink() or not folder.is_dir():
            return False
        self._own_folders.add(folder)
        return True

    def _stage(self, blob: Path, staged: Path, entry: IndexEntry) -> bool:
        """Copy or link a blob; say whether its bytes are right.

        A link is read too: another name would pass damage on.
        """
        if size_of(blob) != entry.size:
            return False
        try:
            if not self._link or not self._make_link(blob, staged):
                _copy(blob, staged)
        except FileNotFoundError:
            return False
        return disk.sha256_of(staged) == entry.sha256

    def _make_link(self, blob: Path, staged: Path) -> bool:
        """Link a blob; False if it has as many names as the disk allows."""
        try:
            disk.link(blob, staged)
        except OSError as error:
            if error.errno == errno.EMLINK:
                return False
            if error.errno not in _CANNOT_LINK:
                raise
            reason = f"the export cannot be linked into {self._target} ({error.strerror})"
            raise InvalidRequestError([f"{reason}: check out without --link"]) from error
        return True


def _read_index(path: Path) -> _Index:
    try:
        lines = path.read_bytes().splitlines() if not path.is_symlink() else [b"a link"]
        return _merged({}, (msgspec.json.decode(line, type=IndexEntry) for line in lines))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        problem = f"{path} is not an index of this tool: choose another folder"
        raise InvalidRequestError([problem]) from None


def _merged(index: _Index, entries: Iterable[IndexEntry]) -> _Index:
    """Return an index that has other entries too."""
    merged = dict(index)
    for entry in entries:
        known = merged.get(entry.file, ())
        merged[entry.file] = known if entry in known else (*known, entry)
    return merged


def _digest_at(path: Path, blob: Path, known: Sequence[IndexEntry]) -> str | None:
    """Return the SHA-256 of a file; None if it has an unknown size, or cannot be read.

    known: what may be there, that of the blob first. Another name of the blob is not read.
    """
    size = size_of(path)
    if size not in {one.size for one in known}:
        return None
    try:
        if size == known[0].size and blob.exists() and path.samefile(blob):
            return known[0].sha256
        return disk.sha256_of(path)
    except OSError:
        return None


def _copy(source: Path, target: Path) -> None:
    """Copy a file, durable: the system shares its extents if the disk can."""
    size = source.stat().st_size
    with source.open("rb") as stream, target.open("xb") as out:
        copied = disk.copy_by_system(stream, 0, size, out)
        for chunk in disk.read_range(stream, copied, size - copied):
            out.write(chunk)
        disk.sync_file(out)
