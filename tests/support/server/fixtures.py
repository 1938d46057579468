"""The pytest fixture `stand_in`: `pytest_plugins = ("tests.support.server.fixtures",)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.server.stand_in import StandInServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stand_in() -> Iterator[StandInServer]:
    """Yield a running server; fail the test if it was asked something it does not know."""
    with StandInServer() as server:
        yield server
    assert server.unknown_operations == []
    assert server.errors == []
