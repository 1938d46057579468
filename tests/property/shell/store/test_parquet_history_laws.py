"""Law of the history in Parquet files: it gives the lines of `history.jsonl` back."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.columnar import files
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.shell.store import parquet_history
from dr_wandb.shell.store.parquet_history import ParquetHistory
from tests.support.cells import any_rows, lines_of_rows
from tests.support.strategies import clean_texts
from tests.support.written_parquet import lines_by_run, write_history

Pack = dict[str, list[HistoryRow]]
run_ids = st.sampled_from(["a", "b", "ab", "é", "0012", "\U0001f600", "a" * 5000]) | clean_texts
packs = st.dictionaries(run_ids, any_rows.filter(bool), max_size=5)
months = st.lists(st.sampled_from([None, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"]))


def history_of(pack: Pack) -> bytes:
    return b"".join(
        lines_of_rows([replace(row, run_id=run_id) for row in rows])
        for run_id, rows in sorted(pack.items())
    )


@given(packs, months, st.integers(3, 40), st.integers(0, 3))
def test_lines_of_a_history_come_back(
    pack: Pack, created: list[str | None], most_cells: int, most_open: int
) -> None:
    history = history_of(pack)
    times = dict(zip(pack, created, strict=False))
    with (
        TemporaryDirectory() as name,
        patch.object(files, "MOST_CELLS", most_cells),
        patch.object(parquet_history, "MOST_OPEN", most_open),
    ):
        described = write_history(Path(name), history, times)
        manifest = ExportManifest(
            name="n",
            entity="e",
            project="p",
            mode=ExportMode.HISTORY,
            created_at="",
            updated_at="",
            runs_path="runs.jsonl",
            files=described,
        )
        found = ParquetHistory(Path(name), manifest)
        assert [(run.run_id, b"".join(run.lines)) for run in found.runs()] == sorted(
            lines_by_run(history).items()
        )
        assert found.run_ids() == {*pack}
        for run_id, lines in lines_by_run(history).items():
            for known in (times.get(run_id), "2020-01-01T00:00:00Z"):
                rows = found.rows_of(run_id, known)
                assert b"".join(one.lines for one in rows) == lines
        assert list(found.rows_of("none of them")) == []
