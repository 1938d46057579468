"""Put the files of an export into a folder, under names for people.

Rules
- Names are those of `core.contract.safe_names`; `INDEX.jsonl` maps them.
- A file is replaced only if the index names it and it still has the bytes that it names. A file
  with the right bytes is left as it is, whoever put it there.
- No link is followed: one in the way is somebody else's.
- Bytes are checked while they are copied. With `link` a file is a further name of its blob, which
  may not be written to.
- Nothing in the export changes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.checked_out import CheckedOut, IndexEntry
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.dataset import DATASETS, FILES
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.safe_names import safe_part, tree_of
from dr_wandb.core.contract.values import clean_text
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import blob_path, hash_file, is_sha256, size_of
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.export_store import ExportStore

INDEX = "INDEX.jsonl"


def check_out(
    store: ExportStore,
    target: Path,
    *,
    run_ids: Iterable[str] | None = None,
    patterns: Iterable[str] | None = None,
    link: bool = False,
    arrived: Callable[[int], None] = lambda size: None,
) -> CheckedOut:
    """Put files of an export into a folder: `runs/<run>/files/<path>`.

    run_ids: of these runs. patterns: of these paths, as `FileChoice` has them. link: as further
    names of the blobs instead of copies. arrived: takes the size of each file. Raises
    InvalidRequestError for a folder in the export, or an export without files.
    """
    _require_apart(store, target)
    choice = FileChoice(patterns=None if patterns is None else tuple(patterns))
    with disk_refusals(target, exactly=True):
        return _Checkout(store, target, choice, link=link, arrived=arrived).write(run_ids)


def _require_apart(store: ExportStore, target: Path) -> None:
    if DATASETS[FILES].file not in store.require_manifest().files:
        raise InvalidRequestError([f"{store.name} has no files: sync it with --with files"])
    export, folder = (Path(os.path.realpath(one)) for one in (store.export_dir, target))
    if export == folder or export in folder.parents or folder in export.parents:
        raise InvalidRequestError([f"{target} is not apart from the export: choose another folder"])
    if target.exists() and not target.is_dir():
        raise InvalidRequestError([f"{target} is a file: choose a folder"])


class _Checkout:
    """One checkout into a folder."""

    def __init__(
        self,
        store: ExportStore,
        target: Path,
        choice: FileChoice,
        *,
        link: bool,
        arrived: Callable[[int], None],
    ) -> None:
        self._store = store
        self._target = target
        self._choice = choice
        self._link = link
        self._arrived = arrived
        self._ours = self._read_index()
        self._folders = {target}
        self._done = CheckedOut(folder=clean_text(str(target)))

    def _read_index(self) -> dict[str, IndexEntry]:
        path = self._target / INDEX
        try:
            lines = path.read_bytes().splitlines() if not path.is_symlink() else [b"a link"]
            entries = [msgspec.json.decode(line, type=IndexEntry) for line in lines]
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            problem = f"{path} is not an index of this tool: choose another folder"
            raise InvalidRequestError([problem]) from None
        return {entry.file: entry for entry in entries}

    def write(self, run_ids: Iterable[str] | None) -> CheckedOut:
        """Write the files, then the index."""
        self._target.mkdir(parents=True, exist_ok=True)
        wanted = None if run_ids is None else list(run_ids)
        folders = tree_of(run_id for run_id, _ in self._by_run(None))
        for run_id, rows in self._by_run(wanted):
            names = tree_of(row.path for row in rows)
            folder = folders.get(run_id) or safe_part(run_id)
            for row in rows:
                if self._choice.admits(row.path):
                    self._check_out_file(row, f"runs/{folder}/files/{names[row.path]}")
        lines = (encode_line(self._ours[file]) for file in sorted(self._ours))
        disk.replace_file(self._target / INDEX, b"".join(lines))
        return self._done

    def _by_run(self, run_ids: Iterable[str] | None) -> Iterator[tuple[str, list[RunFile]]]:
        files = self._store.iter_files(run_ids=run_ids)
        return ((run_id, list(rows)) for run_id, rows in groupby(files, lambda row: row.run_id))

    def _check_out_file(self, row: RunFile, file: str) -> None:
        if row.sha256 is None or not is_sha256(row.sha256):
            self._done = replace(self._done, absent=self._done.absent + 1)
            return
        path, blob = self._target / file, blob_path(self._store.export_dir, row.sha256)
        entry = IndexEntry(
            file=file, run_id=row.run_id, path=row.path, sha256=row.sha256, size=row.size or 0
        )
        if not self._make_folders(path.parent) or not self._is_free(path, blob, entry):
            self._done = replace(self._done, in_the_way=(*self._done.in_the_way, file))
            return
        if self._has_bytes(path, blob, entry):
            self._done = replace(self._done, same=self._done.same + 1)
        elif self._write(blob, path, entry):
            done = self._done
            self._done = replace(done, files=done.files + 1, bytes=done.bytes + entry.size)
        else:
            self._done = replace(self._done, damaged=(*self._done.damaged, file))
            return
        self._ours[file] = entry
        self._arrived(entry.size)

    def _make_folders(self, folder: Path) -> bool:
        """Make the folders of a file; say whether all of them are folders of their own."""
        if folder in self._folders:
            return True
        if not self._make_folders(folder.parent):
            return False
        with suppress(FileExistsError):
            folder.mkdir()
        if folder.is_symlink() or not folder.is_dir():
            return False
        self._folders.add(folder)
        return True

    def _is_free(self, path: Path, blob: Path, entry: IndexEntry) -> bool:
        """Say whether a file may be put at a path: nothing, the same, or ours is there."""
        if not os.path.lexists(path):
            return True
        if size_of(path) is None:
            return False
        known = self._ours.get(entry.file)
        ours = known is not None and self._has_bytes(path, None, known)
        return ours or self._has_bytes(path, blob, entry)

    def _has_bytes(self, path: Path, blob: Path | None, entry: IndexEntry) -> bool:
        if size_of(path) != entry.size:
            return False
        if blob is not None:
            with suppress(FileNotFoundError):
                if blob.samefile(path):
                    return True
        return hash_file(path)[0] == entry.sha256

    def _write(self, blob: Path, path: Path, entry: IndexEntry) -> bool:
        """Write a file under a hidden name, then give it its own; say whether its bytes are right.

        With `link` the blob is read too: another name would pass damage on.
        """
        if size_of(blob) != entry.size:
            return False
        staged = self._target / f".{uuid4().hex}.part"
        try:
            if self._link:
                disk.link(blob, staged)
            else:
                _copy(blob, staged)
            if hash_file(staged)[0] != entry.sha256:
                return False
            disk.rename(staged, path)
        finally:
            disk.remove(staged)
        return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file: the system shares its extents if the disk can."""
    size = source.stat().st_size
    with source.open("rb") as stream, target.open("xb") as out:
        copied = disk.copy_by_system(stream, 0, size, out)
        for chunk in disk.read_range(stream, copied, size - copied):
            out.write(chunk)
