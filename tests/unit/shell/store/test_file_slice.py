"""A range of a file reads as a file of its own."""

from pathlib import Path

import pytest

from dr_wandb.shell.store.file_slice import FileSlice


@pytest.mark.parametrize("size", [-1, 0, 3, 100])
def test_slice_reads_as_its_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before" + b"content" + b"after")
    with FileSlice(path, 6, 7) as piece:
        assert piece.readable()
        for whence, position in ((0, 0), (0, 3), (0, 9), (2, -2), (2, 0)):
            at = piece.seek(position, whence)
            assert at == piece.tell() == position + (7 if whence else 0)
            found = piece.read(size)
            assert found == b"content"[at : None if size < 0 else at + size]
            assert piece.seek(0, 1) == at + len(found)
        assert not piece.closed
    assert piece.closed
