"""Laws of an interrupted sync: what is seen of it is what it left, and the next one uses that."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.shell.inspect.status import find_exports, read_status
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.presence import first_sync_of, look_beside
from tests.support import syncing
from tests.support.interrupted_sync import interrupted_sync
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


@given(runs=st.integers(1, 4), stops=st.lists(st.integers(1, 4), max_size=3), synced=st.booleans())
def test_each_interrupted_sync_is_seen_with_what_it_left(
    runs: int, stops: list[int], synced: bool
) -> None:
    source = MemorySource()
    with TemporaryDirectory() as folder, syncing.without_fsync():
        data_root = Path(folder)
        if synced:
            syncing.sync(source, data_root, allow_empty=True)
        for number in range(runs):
            source.add_run(f"run-{number}")
            source.log(f"run-{number}", {"loss": number / 4})
        store = ExportStore(name=NAME, data_root=data_root)
        left: list[Path] = []
        for stop in (stop for stop in stops if len(left) + stop < runs):
            before = len(left)
            interrupted_sync(source, data_root, stop)
            left = list((store.export_dir / ".staging").glob("*.segment"))
            beside, status = look_beside(store.export_dir), read_status(store)
            assert len(left) == before + stop
            assert (beside.segments, beside.first) == (len(left), not synced)
            assert beside.segment_bytes == sum(path.stat().st_size for path in left)
            assert (status.fetched_parts, status.first_sync) == (len(left), not synced)
            assert (status.entity, status.project) == ("entity", "project")
            assert find_exports(data_root, unfinished=True) == [store]
            assert (first_sync_of(NAME, store.export_dir) is None) == synced
        asked = len(source.asked)
        syncing.sync(source, data_root)
        assert not look_beside(store.export_dir).unfinished
        assert (read_status(store).runs, read_status(store).fetched_parts) == (runs, 0)
        reads = [call for call in source.asked[asked:] if call[0] == "read_history"]
        assert len(reads) == runs - len(left)
