"""Whatever syncs an export had, its Parquet files are those that its lines give at once."""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from dr_wandb import load_manifest
from dr_wandb.core.contract.export_files import is_parquet_history
from dr_wandb.core.contract.failures import DrWandbError, RunsVanished, SelectionNarrower
from dr_wandb.shell.store import disk
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.parquet_exports import lines_in, small_files
from tests.support.syncing import NAME, select

BOTH: dict[str, Any] = {"formats": ("jsonl", "parquet")}
ALONE: dict[str, Any] = {"formats": ("parquet",)}
IDS = ("b", "e", "d", "k")
"""Of these, "b" and "e" are in one pack."""

Step = Callable[[MemorySource], None]


def log(run_id: str, count: int) -> Step:
    def step(source: MemorySource) -> None:
        if run_id in source.runs:
            for number in range(count):
                source.log(run_id, {"loss": number / 3, "text": "ü" * number})

    return step


def add(run_id: str, days: int) -> Step:
    def step(source: MemorySource) -> None:
        source.advance(86_400 * days)
        if run_id not in source.runs:
            source.add_run(run_id)
            source.log(run_id, {"loss": 1.5})

    return step


def delete(run_id: str) -> Step:
    def step(source: MemorySource) -> None:
        if run_id in source.runs:
            source.delete(run_id)

    return step


def rewind(run_id: str, to_step: int) -> Step:
    def step(source: MemorySource) -> None:
        if run_id in source.runs:
            source.rewind(run_id, to_step)

    return step


def log_between(run_id: str) -> Step:
    def step(source: MemorySource) -> None:
        if run_id in source.runs:
            source.log(run_id, {"loss": 0.25}, step=1)

    return step


def wait(source: MemorySource) -> None:
    source.advance(3600)


ids = st.sampled_from(IDS)
steps = st.one_of(
    st.builds(log, ids, st.integers(1, 12)),
    st.builds(add, ids, st.sampled_from([0, 0, 40])),
    st.builds(delete, ids),
    st.builds(rewind, ids, st.integers(0, 3)),
    st.builds(log_between, ids),
    st.just(wait),
)
requests: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"sync_mode": "full_reconcile"},
        {"mode": "metadata"},
        {"prune": True, "allow_empty": True},
        {"history_selection": select("loss", min_step=1), "allow_narrower": True},
        {"drop_formats": ("parquet",)},
    ]
)


def parquet_in(folder: Path) -> dict[str, bytes]:
    files = syncing.visible(folder)
    return {name: content for name, content in files.items() if is_parquet_history(name)}


def made_at_once(data_root: Path, source: MemorySource) -> dict[str, bytes]:
    """Return the Parquet files that a sync makes of the lines of an export, without a request."""
    with TemporaryDirectory() as other:
        shutil.copytree(data_root / NAME, Path(other, NAME))
        shutil.rmtree(Path(other, NAME, "parquet"), ignore_errors=True)
        again = syncing.twin(source)
        syncing.sync(again, Path(other), mode="metadata", **BOTH)
        assert not again.count_asked("read_history")
        return parquet_in(Path(other, NAME))


def sync(source: MemorySource, data_root: Path, request: dict[str, Any]) -> bool:
    """Sync; say whether it was done. A sync that would lose runs changes nothing."""
    try:
        syncing.sync(source, data_root, **request)
    except DrWandbError as error:
        if isinstance(error.failure, RunsVanished | SelectionNarrower):
            return False
        raise
    return True


@given(st.lists(st.tuples(st.lists(steps, max_size=4), requests), min_size=1, max_size=4))
def test_parquet_files_are_those_that_the_lines_give(
    syncs: list[tuple[list[Step], dict[str, Any]]],
) -> None:
    with TemporaryDirectory() as folder, small_files(), syncing.without_fsync():
        data_root, source = Path(folder), MemorySource()
        for run_id in IDS[:3]:
            source.add_run(run_id)
            log(run_id, 4)(source)
        syncing.sync(source, data_root, **BOTH)
        for happens, request in syncs:
            for step in happens:
                step(source)
            if not sync(source, data_root, request):
                continue
            manifest = load_manifest(NAME, data_root)
            assert manifest is not None
            files = parquet_in(data_root / NAME)
            named = {name: file for name, file in manifest.files.items() if name in files}
            assert named.keys() == files.keys()
            for name, file in named.items():
                assert file.sha256 == disk.sha256_of(data_root / NAME / name)
                assert file.bytes == len(files[name])
            if "drop_formats" in request:
                assert not files
                syncing.sync(source, data_root, mode="metadata", **BOTH)
                files = parquet_in(data_root / NAME)
                manifest = load_manifest(NAME, data_root)
                assert manifest is not None
            event(f"own files: {any('-run-' in name for name in files)}")
            lines = syncing.visible(data_root / NAME)["history.jsonl"]
            assert lines_in(data_root / NAME) == lines
            rows = [file.lines for name, file in manifest.files.items() if name in files]
            assert sum(rows) == manifest.history_count == lines.count(b"\n")
            assert files == made_at_once(data_root, source)


@given(st.lists(st.lists(steps, max_size=4), min_size=1, max_size=3))
def test_parquet_files_of_a_sequence_of_syncs_are_those_of_a_fresh_export(
    syncs: list[list[Step]],
) -> None:
    with TemporaryDirectory() as folder, small_files(), syncing.without_fsync():
        data_root, source = Path(folder), MemorySource()
        for happens in ([add("b", 0), add("e", 0)], *syncs):
            for step in happens:
                step(source)
            for _ in range(4):  # rows go after several syncs without them
                syncing.sync(source, data_root, allow_empty=True, prune=True, **BOTH)
                source.advance(601)
        with syncing.fresh_export(source, **BOTH) as fresh:
            if syncing.data_of(data_root / NAME) == syncing.data_of(fresh):
                event("converged")
                assert parquet_in(data_root / NAME) == parquet_in(fresh)


@given(st.lists(st.tuples(st.lists(steps, max_size=4), requests), min_size=1, max_size=4))
def test_export_without_lines_is_synced_as_one_with_them(
    syncs: list[tuple[list[Step], dict[str, Any]]],
) -> None:
    """The same is asked, and the same files are written, except for the lines themselves."""
    with TemporaryDirectory() as folder, small_files(), syncing.without_fsync():
        roots, source = (Path(folder, "alone"), Path(folder, "both")), MemorySource()
        for run_id in IDS[:3]:
            source.add_run(run_id)
            log(run_id, 4)(source)
        first: list[tuple[list[Step], dict[str, Any]]] = [([], {})]
        for happens, request in (*first, *syncs):
            if "drop_formats" in request:
                continue
            for step in happens:
                step(source)
            done, files, asked = [], [], []
            for root, formats in zip(roots, (ALONE, BOTH), strict=True):
                again = syncing.twin(source)
                done.append(sync(again, root, {**formats, **request}))
                asked.append(sorted(map(repr, again.asked)))
                files.append(syncing.visible(root / NAME))
            assert done[0] == done[1]
            assert asked[0] == asked[1]
            alone, both = files
            lines = both.pop("history.jsonl")
            assert lines_in(roots[0] / NAME) == lines
            assert alone.keys() == both.keys()
            differ = {name for name, content in alone.items() if content != both[name]}
            assert differ <= {"manifest.json", "state.json"}
        for root in roots:
            request = {"mode": "metadata", "formats": ("jsonl",), "allow_empty": True}
            syncing.sync(syncing.twin(source), root, **request)
        alone, both = (syncing.visible(root / NAME) for root in roots)
        assert alone.keys() == both.keys()
        differ = {name for name, content in alone.items() if content != both[name]}
        assert differ <= {"manifest.json", "state.json"}
        manifests = [load_manifest(NAME, root) for root in roots]
        assert manifests[0] is not None
        assert manifests[1] is not None
        assert manifests[0].files == manifests[1].files
