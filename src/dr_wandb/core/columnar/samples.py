"""Turn lines of `system.jsonl` into cells, and cells back into lines.

Rules
- A sample is a row without a step. Its time is that of its cells, its runtime a cell `_runtime`,
  and each metric a cell under its name. So a table of samples has the columns of the history.
- A sample that its cells do not give back has its line as the text of its marker cell.
- The cells do not depend on how the lines are divided into batches.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from dr_wandb.core.columnar.cells import TIMESTAMP, CellBatch, batch_of, with_differing_lines
from dr_wandb.core.columnar.from_lines import RUNTIME
from dr_wandb.core.columnar.to_lines import rows_of
from dr_wandb.core.columnar.values_as_cells import cells_by_key
from dr_wandb.core.contract.codec import encode_line, moment_of
from dr_wandb.core.contract.records import SystemSample
from dr_wandb.core.contract.values import spell_number

_SAMPLES = msgspec.json.Decoder(SystemSample)
_NUMBERS = (int, float)


def cells_of_samples(batches: Iterable[bytes]) -> Iterator[CellBatch]:
    """Turn batches of complete lines of one run into cells, from its first sample on.

    Raises ValueError for a line that does not read.
    """
    first = 0
    for lines in batches:
        samples = _SAMPLES.decode_lines(lines)
        batch = batch_of(first, len(samples), cells_by_key(map(_values_of, samples)))
        ours = _lines_of_cells(batch, samples[0].run_id) if samples else []
        yield with_differing_lines(batch, lines.splitlines(), ours)
        first += batch.row_count


def lines_of_samples(batch: CellBatch, run_id: str) -> bytes:
    """Return the samples of a batch as lines, byte for byte those that they were made from."""
    lines = _lines_of_cells(batch, run_id)
    marked = batch.columns[None]
    for row, text in zip(marked.text_at.tolist(), marked.texts, strict=True):
        lines[row] = text.encode()
    return b"".join(line + b"\n" for line in lines)


def _values_of(sample: SystemSample) -> Iterator[tuple[str, Any]]:
    yield TIMESTAMP, moment_of(sample.timestamp)
    yield RUNTIME, sample.runtime
    yield from sample.metrics.items()


def _lines_of_cells(batch: CellBatch, run_id: str) -> list[bytes]:
    """Return the line of each sample, as its cells say, without its newline."""
    return [encode_line(_sample_of(row, run_id))[:-1] for row in rows_of(batch)]


def _sample_of(row: dict[str, Any], run_id: str) -> SystemSample:
    moment, runtime = row.pop(TIMESTAMP, None), row.pop(RUNTIME, None)
    return SystemSample(
        run_id=run_id,
        timestamp=spell_number(moment) if type(moment) in _NUMBERS else None,
        runtime=runtime if type(runtime) in _NUMBERS else None,
        metrics=row,
    )
