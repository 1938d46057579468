"""Exports with Parquet files: made from the lines of an export, as a sync writes them."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pytest
from msgspec.structs import replace

from dr_wandb.core.columnar.digest import contents_digest, pack_digest, run_digest
from dr_wandb.core.columnar.files import files_of_run
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.codec import encode_document, locate
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import (
    FORMATS,
    HISTORY_FILE,
    JSONL,
    MANIFEST_FILE,
    PARQUET,
    PARQUET_HISTORY,
    PARQUET_RUNS,
    RUNS_FILE,
)
from dr_wandb.core.contract.manifest import DataFile, ExportManifest, Requested, RequestedDataset
from dr_wandb.core.contract.records import FIRST_WITH_CELLS
from dr_wandb.shell.store.cell_columns import cells_as_arrow
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.group_writer import WrittenFile
from dr_wandb.shell.store.parquet_files import merge_pack, write_part
from dr_wandb.shell.store.runs_parquet import write_runs
from tests.support.state_files import edit_state
from tests.support.syncing import json_lines

if TYPE_CHECKING:
    from dr_wandb.core.columnar.cells import CellBatch

WRITER = f"pyarrow {pa.__version__}"
Created = Mapping[str, str | None]


def lines_by_run(history: bytes) -> dict[str, bytes]:
    """Return the lines of each run of a `history.jsonl`."""
    lines = history.splitlines(keepends=True)
    groups = groupby(lines, key=lambda line: locate(line)[0])
    return {run_id: b"".join(one) for run_id, one in groups}


def write_history(folder: Path, history: bytes, created: Created) -> dict[str, DataFile]:
    """Write the Parquet files of a history into an export; return what the manifest has of them."""
    shutil.rmtree(folder / PARQUET_HISTORY, ignore_errors=True)
    (folder / PARQUET_HISTORY).mkdir(parents=True)
    files: dict[str, DataFile] = {}
    packs: dict[str, list[tuple[str, CellBatch]]] = {}
    for run_id, lines in sorted(lines_by_run(history).items()):
        held = files_of_run(run_id, created.get(run_id), cells_of_lines([lines]))
        for name, batch in held:
            path = f"{PARQUET_HISTORY}/{name}"
            if "-run-" not in name:
                packs.setdefault(path, []).append((run_id, batch))
                continue
            written = write_part(folder / path, run_id, batch)
            files[path] = _described(batch.row_count, written, contents_digest(batch))
    for path, runs in packs.items():
        changes = ((run_id, [cells_as_arrow(batch, run_id)]) for run_id, batch in runs)
        found = merge_pack(None, folder / path, changes)
        assert found is not None
        contents = pack_digest((run_id, run_digest([contents_digest(one)])) for run_id, one in runs)
        files[path] = _described(sum(batch.row_count for _, batch in runs), found, contents)
    return files


def _described(rows: int, written: WrittenFile, contents: str) -> DataFile:
    size, sha256 = written.bytes, written.sha256
    return DataFile(lines=rows, bytes=size, sha256=sha256, contents=contents, writer=WRITER)


def add_parquet(folder: Path, *, alone: bool = False) -> None:
    """Give an export of JSON lines its Parquet files. alone: and take `history.jsonl` from it."""
    created = {
        one["run"]["run_id"]: one["run"]["created_at"] for one in json_lines(folder / RUNS_FILE)
    }
    history = folder / HISTORY_FILE
    files = write_history(folder, history.read_bytes() if history.exists() else b"", created)
    runs = write_runs(folder / RUNS_FILE, folder / PARQUET_RUNS)
    files[PARQUET_RUNS] = DataFile(
        lines=runs.runs,
        bytes=runs.bytes,
        sha256=runs.sha256,
        contents=runs.contents,
        writer=WRITER,
    )
    before = read_manifest(folder)
    kept = {**before.files}
    if alone:
        kept.pop(HISTORY_FILE, None)
        history.unlink(missing_ok=True)
    put_manifest(
        folder,
        replace(
            before,
            schema_version=FIRST_WITH_CELLS,
            history_path=None if alone else before.history_path,
            files=dict(sorted({**kept, **files}.items())),
            requested=_in_formats(before, [PARQUET] if alone else [JSONL, PARQUET]),
        ),
    )

    def change(state: dict[str, object]) -> None:
        state["schema_version"] = FIRST_WITH_CELLS
        if alone:
            assert isinstance(state["files"], dict)
            state["files"].pop(HISTORY_FILE, None)

    edit_state(folder, change)


def _in_formats(manifest: ExportManifest, formats: Iterable[str]) -> Requested:
    requested = manifest.requested or Requested()
    held = requested.datasets.get(HISTORY, RequestedDataset())
    assert {*formats} <= {*FORMATS}
    datasets = {**requested.datasets, HISTORY: replace(held, formats=[*formats])}
    return replace(requested, datasets=datasets)


def read_manifest(folder: Path) -> ExportManifest:
    """Return the manifest of an export."""
    return msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=ExportManifest)


def put_manifest(folder: Path, manifest: ExportManifest) -> None:
    """Write the manifest of an export."""
    (folder / MANIFEST_FILE).write_bytes(encode_document(manifest))


def let_a_sync_end_in_between(folder: Path, patch: pytest.MonkeyPatch) -> list[ExportManifest]:
    """Let the manifest describe files of before until it was read once; return what was read."""
    right = read_manifest(folder)
    old = {name: replace(file, sha256="0") for name, file in right.files.items()}
    put_manifest(folder, replace(right, files=old))
    require = ExportStore.require_manifest
    asked: list[ExportManifest] = []

    def require_and_replace(store: ExportStore) -> ExportManifest:
        asked.append(require(store))
        put_manifest(folder, right)
        return asked[-1]

    patch.setattr(ExportStore, "require_manifest", require_and_replace)
    return asked


def describe_again(folder: Path, name: str) -> None:
    """Let the manifest have size and SHA-256 of a file as it is now."""
    content = (folder / name).read_bytes()
    manifest = read_manifest(folder)
    now = replace(
        manifest.files[name], bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    put_manifest(folder, replace(manifest, files={**manifest.files, name: now}))
