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
import numpy as np

from dr_wandb.core.columnar.cells import TIMESTAMP, CellBatch, batch_of, markers
from dr_wandb.core.columnar.from_lines import RUNTIME
from dr_wandb.core.columnar.to_lines import values_of
from dr_wandb.core.columnar.values_as_cells import cells_of_values
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
        batch = _cells_of(samples, first)
        if samples:
            batch = _with_lines_of_others(batch, samples[0].run_id, lines.splitlines(keepends=True))
        yield batch
        first += batch.row_count


def lines_of_samples(batch: CellBatch, run_id: str) -> bytes:
    """Return the samples of a batch as lines, byte for byte those that they were made from."""
    lines = _lines_of_cells(batch, run_id)
    marked = batch.columns[None]
    for row, text in zip(marked.text_at.tolist(), marked.texts, strict=True):
        lines[row] = f"{text}\n".encode()
    return b"".join(lines)


def _cells_of(samples: list[SystemSample], first: int) -> CellBatch:
    found: dict[str, tuple[list[int], list[Any]]] = {}
    for row, sample in enumerate(samples):
        for key, value in (
            (TIMESTAMP, moment_of(sample.timestamp)),
            (RUNTIME, sample.runtime),
            *sample.metrics.items(),
        ):
            at, values = found.setdefault(key, ([], []))
            if value is not None and (not at or at[-1] != row):
                at.append(row)
                values.append(value)
    columns = {
        key: cells_of_values(np.array(at), values) for key, (at, values) in found.items() if at
    }
    return batch_of(first, len(samples), columns)


def _with_lines_of_others(batch: CellBatch, run_id: str, lines: list[bytes]) -> CellBatch:
    """Return a batch in which samples that their cells do not give back have their lines."""
    differing = {
        row: line.removesuffix(b"\n").decode()
        for row, (line, ours) in enumerate(zip(lines, _lines_of_cells(batch, run_id), strict=True))
        if line != ours
    }
    if not differing:
        return batch
    marked = markers(batch.row_count, differing)
    return batch._replace(columns={**batch.columns, None: marked})


def _lines_of_cells(batch: CellBatch, run_id: str) -> list[bytes]:
    """Return the line of each sample, as its cells say."""
    rows: list[dict[str, Any]] = [{} for _ in range(batch.row_count)]
    for key, at, values in values_of(batch):
        for row, value in zip(at.tolist(), values, strict=True):
            rows[row][key] = value
    return [encode_line(_sample_of(row, run_id)) for row in rows]


def _sample_of(row: dict[str, Any], run_id: str) -> SystemSample:
    moment, runtime = row.pop(TIMESTAMP, None), row.pop(RUNTIME, None)
    return SystemSample(
        run_id=run_id,
        timestamp=spell_number(moment) if type(moment) in _NUMBERS else None,
        runtime=runtime if type(runtime) in _NUMBERS else None,
        metrics=row,
    )
