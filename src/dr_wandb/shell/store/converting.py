"""Write the history lines of an export to a file outside of it, from whatever form it has them in.

Rules
- The bytes are those of `history.jsonl`: a copy of it, or made from the Parquet files.
- What is read must be what the manifest describes, and the lines of each run those that the state
  records, if it can be read. Otherwise there is no file.
- The file gets its name when it is complete and durable. Nothing in the export changes.
"""

import hashlib
import secrets
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from dr_wandb.core.contract.conversion import Conversion
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import (
    HISTORY_FILE,
    MANIFEST_FILE,
    PARQUET_HISTORY,
    RUNS_FILE,
)
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.progress import Stage
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.shell.progress import CountedProgress, ProgressCallback, say_nothing
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.commit import next_manifest
from dr_wandb.shell.store.decoding import opened
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.one_moment import at_one_moment
from dr_wandb.shell.store.rows_of_runs import UNUSABLE, usable_state

VERIFY = "run `wandb-export verify` to see what is wrong with the export; nothing was written"


def write_history_lines(
    store: ExportStore,
    out: Path,
    *,
    overwrite: bool = False,
    progress: ProgressCallback = say_nothing,
) -> Conversion:
    """Write the history of an export to a new file, as lines.

    overwrite: replace a file of that name. progress: called a few times a second, with rows. Raises
    InvalidRequestError for a path that cannot be such a file, and if the export has no history.
    Raises DrWandbError if the export is missing or damaged, or the disk refuses.
    """
    _require_history(store, store.require_manifest())
    require_free(store, out, overwrite=overwrite)

    def write(manifest: ExportManifest) -> Conversion:
        counted = CountedProgress(manifest.history_count, progress, stage=Stage.CONVERTING)
        return _write(store, manifest, out, counted, overwrite=overwrite)

    return at_one_moment(store, write)


def _require_history(store: ExportStore, manifest: ExportManifest) -> None:
    if manifest.mode != ExportMode.HISTORY:
        problem = f"{store.name} has no history: sync it with --mode history first"
        raise InvalidRequestError([problem])


def require_free(
    store: ExportStore, out: Path, *, overwrite: bool, files: Collection[str] | None = None
) -> None:
    """Raise InvalidRequestError unless a file may be written at a path.

    files: or a folder of these files, which may have older ones of the same names.
    """
    with disk_refusals(out):
        folder = store.export_dir.resolve()
        others = sorted(_names_in(out) - {*(files or ())})
        if any(folder in (path, *path.parents) for path in (out.resolve(), out.parent.resolve())):
            problem = f"{out} is inside the export, of which nothing is written"
        elif not out.parent.is_dir():
            problem = f"there is no folder {out.parent}"
        elif files is None and out.exists() and not out.is_file():
            problem = f"{out} is not a file"
        elif files is not None and out.exists() and not out.is_dir():
            problem = f"{out} is not a folder"
        elif files is not None and others:
            problem = f"{out} has other files in it, such as {others[0]!r}; give another --out"
        elif all((out.parent / one).exists() for one in (MANIFEST_FILE, RUNS_FILE)):
            problem = f"{out} is inside another export"
        elif (out.exists() or out.is_symlink()) and not overwrite:
            problem = f"{out} exists; give --overwrite to replace it, or another --out"
        else:
            return
    raise InvalidRequestError([problem])


def _write(
    store: ExportStore,
    manifest: ExportManifest,
    out: Path,
    counted: CountedProgress,
    *,
    overwrite: bool,
) -> Conversion:
    """Write the lines to a file beside the new one, and give it its name."""
    with disk_refusals(out), unfinished(out) as stream:
        rows, sha256 = 0, hashlib.sha256()
        with closing(_checked_chunks(store, manifest)) as chunks:
            for chunk in chunks:
                stream.write(chunk)
                sha256.update(chunk)
                rows += chunk.count(b"\n")
                counted.add(chunk.count(b"\n"))
        if rows != manifest.history_count:
            stated = f"{manifest.history_count:,} as {MANIFEST_FILE} says"
            raise _differs(store.export_dir, f"its history has {rows:,} rows, not {stated}")
        disk.sync_file(stream)
        size = stream.tell()
        require_free(store, out, overwrite=overwrite)
        disk.rename(Path(stream.name), out)
        disk.sync_folder(out.parent)
    counted.finish()
    return Conversion(
        name=store.name, path=str(out), rows=rows, bytes=size, sha256=sha256.hexdigest()
    )


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@contextmanager
def unfinished(out: Path) -> Iterator[IO[bytes]]:
    """Give a new file beside another one; it is removed unless it is renamed."""
    path = out.with_name(f".{out.name[:100]}.{secrets.token_hex(4)}.part")
    with path.open("xb") as stream:
        try:
            yield stream
        finally:
            disk.remove(path)


def _checked_chunks(store: ExportStore, manifest: ExportManifest) -> Generator[bytes, None, None]:
    """Give the lines of an export; raise DrWandbError at the end if they are not the right ones."""
    if manifest.history_path is not None:
        return _chunks_of_file(store.history_path, manifest)
    return _chunks_of_parquet(store, manifest)


def _chunks_of_file(path: Path, manifest: ExportManifest) -> Generator[bytes, None, None]:
    described = manifest.files.get(HISTORY_FILE)
    sha256 = hashlib.sha256()
    with opened(path) as stream:
        while chunk := stream.read(disk.CHUNK):
            sha256.update(chunk)
            yield chunk
    if described is not None and sha256.hexdigest() != described.sha256:
        raise _differs(path, f"it is not the file that {MANIFEST_FILE} describes")


def _chunks_of_parquet(
    store: ExportStore, manifest: ExportManifest
) -> Generator[bytes, None, None]:
    from dr_wandb.core.columnar.digest import run_digest
    from dr_wandb.shell.store.parquet_history import ParquetHistory

    folder = store.export_dir / PARQUET_HISTORY
    unfinished_commit = next_manifest(store.export_dir) is not None
    expected = None if unfinished_commit else _expected(store)
    for run in ParquetHistory(store.export_dir, manifest).runs(digests=True):
        known = None if expected is None else expected.pop(run.run_id, None)
        rows, hashed = 0, hashlib.blake2b(digest_size=16)
        for chunk in run.lines:
            rows += chunk.count(b"\n")
            if known is not None and not known.of_cells:
                hashed.update(chunk)
            yield chunk
        if expected is None:
            continue
        of_cells = known is not None and known.of_cells
        found = run_digest(run.parts) if of_cells else hashed.hexdigest()
        if known is None or (known.rows, known.digest) != (rows, found):
            reason = f"run {run.run_id!r} does not have the rows that the state records"
            raise _differs(folder, reason)
    if expected:
        reason = f"run {min(expected)!r} has rows, as the state records, but they are not there"
        raise _differs(folder, reason)


def _expected(store: ExportStore) -> dict[str, ByteRange] | None:
    """Return the number of rows of each run and their digest; None if not known."""
    state = usable_state(store.state_path)
    if state is None:
        return None
    try:
        parts = ((run_id, run.part(HISTORY).stored) for run_id, run in state.runs.items())
        return {run_id: at for run_id, at in parts if at is not None}
    except UNUSABLE:
        return None


def _differs(path: Path, reason: str) -> DrWandbError:
    return DrWandbError(DamagedFile(path=str(path), reason=reason, remedy=VERIFY))
