"""Read the cells of some keys and runs from `history.jsonl`."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from dr_wandb.core.columnar.metric_types import types_of
from dr_wandb.core.columnar.run_rows import of_runs
from dr_wandb.core.columnar.some_keys import CellsOfKeys
from dr_wandb.core.contract.codec import decode_many_rows, decode_row
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.shell.frames.wanted import Found, Wanted
from dr_wandb.shell.store.decoding import decoded, opened

AT_ONCE_BYTES = 1 << 20
"""How many bytes of lines become one piece, roughly."""


def read_lines(path: Path, wanted: Wanted) -> Iterator[Found]:
    """Read what is wanted of a file of lines. Raises DrWandbError for one that does not read."""
    lines_before = 0

    def decode(lines: bytes) -> Sequence[HistoryRow]:
        rows = decode_many_rows(lines)
        if rows is not None:
            return rows
        numbered = enumerate(BytesIO(lines), start=lines_before + 1)
        return [decoded(decode_row(line), path, number) for number, line in numbered]

    cells = CellsOfKeys(wanted.keys, decode)
    with opened(path) as stream:
        while lines := b"".join(stream.readlines(AT_ONCE_BYTES)):
            piece = cells.piece(lines)
            lines_before += piece.row_count
            columns = piece.columns.items()
            types = {key: types_of(one) for key, one in columns} if wanted.types else {}
            yield Found(of_runs(piece, wanted.has_run), types, frozenset(piece.columns))
