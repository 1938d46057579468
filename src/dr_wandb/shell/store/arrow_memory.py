"""Arrow's memory as NumPy arrays, and the other way round.

pyarrow's own `pa.array`, `to_numpy` and `to_pandas_dtype` import pandas if it is installed, which
takes half a second (the first two in pyarrow 26, the last one in pyarrow 17).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import Integers

Valid = NDArray[np.bool_]
Numbers = NDArray[Any]

_KINDS = {pa.from_numpy_dtype(np.dtype(kind)): np.dtype(kind) for kind in "bhilqBHILQfd"}
"""NumPy's kinds of integers and doubles by those of Arrow."""


def numbers_of(column: pa.Array) -> NDArray[Any]:
    """Return the numbers of a column, any number for null. They are read-only."""
    held = np.frombuffer(column.buffers()[1], _KINDS[column.type])
    return held[column.offset : column.offset + len(column)]


def validity_of(column: pa.Array) -> Valid:
    """Say for each value whether it is there."""
    bits = column.buffers()[0]
    if bits is None or not column.null_count:
        return np.ones(len(column), np.bool_)
    found = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    return found[column.offset : column.offset + len(column)].astype(np.bool_)


def numbers_to_arrow(numbers: NDArray[Any], valid: Valid | None = None) -> pa.Array:
    """Return numbers as a column, null for those that are not valid."""
    kind = pa.from_numpy_dtype(numbers.dtype)
    buffers = [bits(valid), pa.py_buffer(np.ascontiguousarray(numbers))]
    return pa.Array.from_buffers(kind, len(numbers), buffers)


def texts_to_arrow(texts: Sequence[str], at: Integers, count: int) -> pa.Array:
    """Return a column of `count` values with these texts at these positions, null elsewhere."""
    return encoded_to_arrow([text.encode() for text in texts], at, count)


def encoded_to_arrow(encoded: Sequence[bytes], at: Integers, count: int) -> pa.Array:
    """Return a column of texts that are given in UTF-8."""
    ends = np.zeros(count + 1, np.int32)
    ends[at + 1] = list(map(len, encoded))
    valid = np.zeros(count, np.bool_)
    valid[at] = True
    offsets = np.cumsum(ends, dtype=np.int32)
    buffers = [bits(valid), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def booleans_to_arrow(booleans: Valid, valid: Valid | None = None) -> pa.Array:
    """Return booleans as a column, null for those that are not valid."""
    buffers = [bits(valid), pa.py_buffer(np.packbits(booleans, bitorder="little"))]
    return pa.Array.from_buffers(pa.bool_(), len(booleans), buffers)


def text_lengths(texts: pa.Array) -> Integers:
    """Return how many bytes each text of a column has, 0 for null. The column is no slice."""
    return np.diff(np.frombuffer(texts.buffers()[1], np.int32)[: len(texts) + 1]).astype(np.int64)


def trim_memory() -> None:
    """Give memory back to the system that is kept for threads which used it before.

    If Arrow has its memory from the system, as in the command, that of NumPy is among it.
    """
    pa.default_memory_pool().release_unused()


def bits(valid: Valid | None) -> pa.Buffer | None:
    """Return which values are there as Arrow's bits, None if all are."""
    if valid is None or valid.all():
        return None
    return pa.py_buffer(np.packbits(valid, bitorder="little"))
