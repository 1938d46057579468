"""What tests of offline folders work in: a folder of run files, and a place for exports."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where run files go; nothing is there yet. Some modules put their own runs there."""
    return tmp_path / "wandb"


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Return where exports go."""
    return tmp_path / "data"
