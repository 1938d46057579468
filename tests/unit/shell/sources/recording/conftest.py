"""What tests of recordings work in."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where a recording goes; nothing is there yet."""
    return tmp_path / "recording"
