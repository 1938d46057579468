"""A digest of cells, for which they need not become lines or a file.

Equal rows have equal cells, so it is as good as a digest of their lines, at a tenth of the time. It
does not depend on the program that wrote a file.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.files import cut_parts
from dr_wandb.core.columnar.from_lines import cells_of_lines


def contents_digest(batch: CellBatch) -> str:
    """Return the SHA-256 of the cells of a batch in hex.

    Each piece is preceded by its length, all numbers are little-endian: the first row; steps,
    whether there is one, timestamps; by key, "" for markers: the key, rows, kinds, values, which
    cells have a text, the lengths of the texts in bytes, and the texts.
    """
    hashed = hashlib.sha256()
    for piece in _pieces(batch):
        hashed.update(piece.nbytes.to_bytes(8, "little"))
        hashed.update(piece)
    return hashed.hexdigest()


def run_digest(parts: Iterable[str]) -> str:
    """Return the digest of all cells of a run: a SHA-256 in hex.

    parts: the digests of the parts that it is cut into, in order; a run of a pack is one part. So
    that of a run that grew is known without reading its other parts.
    """
    hashed = hashlib.sha256()
    for contents in parts:
        hashed.update(contents.encode())
    return hashed.hexdigest()


def cells_digest(batches: Iterable[CellBatch]) -> str:
    """Return the digest of all cells of a run, however its rows are divided into batches."""
    return run_digest(map(contents_digest, cut_parts(batches)))


def cells_digest_of_lines(lines: Iterable[bytes]) -> str:
    """Return the digest of the cells of a run. lines: batches of its lines, from the first on."""
    return cells_digest(cells_of_lines(lines))


def _pieces(batch: CellBatch) -> Iterator[memoryview]:
    yield memoryview(batch.first.to_bytes(8, "little"))
    yield _little(batch.steps)
    yield _little(batch.has_step)
    yield _little(batch.timestamps)
    for key, cells in batch.columns.items():
        texts = [text.encode() for text in cells.texts]
        yield memoryview((key or "").encode())
        yield _little(cells.rows)
        yield _little(cells.kinds)
        yield _little(cells.values)
        yield _little(cells.text_at)
        yield _little(np.array(list(map(len, texts)), np.int64))
        yield memoryview(b"".join(texts))


def _little(numbers: NDArray[Any]) -> memoryview:
    little = numbers.astype(numbers.dtype.newbyteorder("<"), order="C", copy=False)
    return little.view(np.uint8).data


def pack_digest(runs: Iterable[tuple[str, str]]) -> str:
    """Return the digest of the contents of a pack: a SHA-256 in hex.

    runs: the id of each run in it, ascending, with the digest of its cells. Each id is preceded by
    its length.
    """
    hashed = hashlib.sha256()
    for run_id, digest in runs:
        encoded = run_id.encode()
        hashed.update(len(encoded).to_bytes(8, "little") + encoded + digest.encode())
    return hashed.hexdigest()
