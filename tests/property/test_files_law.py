"""Laws of the files of runs, over random uploads, deletions, losses, interrupts and syncs.

Convergence: once nothing fails any more and every run is listed twice, the catalogue is that of a
full reconcile into an empty folder, and every byte is there. The last syncs want every file, as
bytes that are held stay (exception 11 of docs/sync.md). Before that, after each sync: a held file
has its bytes, and bytes that were held stay until newer ones are held or the file is gone.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.file_choice import EVERY_FILE, NO_FILE, FileChoice
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.blobs import BlobStore, blob_path
from dr_wandb.shell.store.commit import STAGING_FOLDER
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.memory_source import MemorySource

RUNS, NAMES = ("a", "b"), ("x.txt", "media/y", "Z", "artifact/1/wandb_manifest.json")
STEPS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(RUNS),
        st.sampled_from(NAMES),
        st.sampled_from([b"", b"1", b"22"]),
    ),
    st.tuples(st.sampled_from(["remove", "lose"]), st.sampled_from(RUNS), st.sampled_from(NAMES)),
    st.tuples(st.just("advance"), st.sampled_from([60, 700, 90_000])),
    st.tuples(st.just("finish"), st.sampled_from(RUNS)),
    st.tuples(
        st.sampled_from(["sync", "pruning sync", "interrupted sync"]),
        st.sampled_from(["incremental", "detect_changes", "full_reconcile"]),
        st.sampled_from([EVERY_FILE, NO_FILE, FileChoice(media=False), FileChoice(max_bytes=1)]),
    ),
    st.tuples(st.just("other sync"), st.booleans()),
)


def interrupt(_: BlobStore) -> None:
    raise KeyboardInterrupt


class Project:
    """A project and its export."""

    def __init__(self, data_root: Path) -> None:
        self.source = MemorySource()
        self.data_root = data_root
        for run_id in RUNS:
            self.source.add_run(run_id)

    @property
    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        path = self.data_root / syncing.NAME / "files.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines]
        return {(row["run_id"], row["path"]): row for row in rows}

    def do(self, step: tuple[Any, ...]) -> None:
        source = self.source
        match step:
            case ("put", run_id, name, content):
                source.put_file(run_id, name, content)
            case ("remove", run_id, name):
                if name in source.runs[run_id].files:
                    source.remove_file(run_id, name)
            case ("lose", run_id, name):
                source.lose_bytes(run_id, name)
            case ("advance", seconds):
                source.advance(seconds)
            case ("finish", run_id):
                source.finish(run_id)
            case ("sync", mode, choice):
                self.sync(sync_mode=mode, files=choice)
            case ("pruning sync", mode, choice):
                self.sync(sync_mode=mode, files=choice, prune=True)
            case ("other sync", prune):
                self.sync(mode="metadata", extra_datasets=(), prune=prune)
            case ("interrupted sync", mode, choice):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(BlobStore, "settle", interrupt)
                    with suppress(KeyboardInterrupt):
                        self.sync(sync_mode=mode, files=choice)

    def sync(self, **fields: Any) -> Any:
        before = self.rows
        fields = {"extra_datasets": ("files",)} | fields
        summary = syncing.sync(self.source, self.data_root, **fields)
        now = self.rows
        for key, row in now.items():
            assert (row["sha256"] is None) == (row["absent"] is not None)
            if row["sha256"] is not None:
                path = blob_path(self.data_root / syncing.NAME, row["sha256"])
                content = path.read_bytes()
                assert hashlib.sha256(content).hexdigest() == row["sha256"]
                assert len(content) == row["size"]
            elif key in before:
                assert before[key]["sha256"] is None, "held bytes are gone"
        return summary


@given(st.lists(STEPS, max_size=14))
@example(
    [
        ("put", "a", "x.txt", b"1"),
        ("put", "a", "Z", b"1"),
        ("sync", "incremental", EVERY_FILE),
        ("remove", "a", "Z"),
        ("put", "a", "x.txt", b"22"),
        ("lose", "a", "x.txt"),
        ("sync", "incremental", EVERY_FILE),
    ]
)
def test_export_of_files_converges(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder, syncing.without_fsync():
        project = Project(Path(folder))
        for step in steps:
            project.do(step)
        project.source.calm_down()
        for _ in range(3):
            project.source.advance(700)
            summary = project.sync(sync_mode="detect_changes")
        assert summary.complete
        data_of = project.data_root / syncing.NAME / "files.jsonl"
        with syncing.fresh_export(project.source, extra_datasets=("files",)) as fresh:
            assert data_of.read_bytes() == (fresh / "files.jsonl").read_bytes()
        assert verify_export(ExportStore(name=syncing.NAME, data_root=project.data_root)).sound
        project.sync(prune=True)
        assert not (data_of.parent / STAGING_FOLDER).exists()
        held = {row["sha256"] for row in project.rows.values()}
        blobs = (data_of.parent / "blobs" / "sha256").glob("*/*")
        assert {path.parent.name + path.name for path in blobs} == held
        before = syncing.visible(data_of.parent)
        project.source.asked.clear()
        project.sync()
        assert syncing.visible(data_of.parent) | {"state.json": b""} == before | {"state.json": b""}
        assert project.source.count_asked("fetch") == 0
