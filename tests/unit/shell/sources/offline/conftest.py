"""Places that tests of the offline source work in."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "wandb"


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return tmp_path / "data"
