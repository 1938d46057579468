"""The in-memory project passes the contract of sources."""

import pytest

from tests.contract.build_memory import build_memory
from tests.contract.source_contract import SourceContract, SourceFactory


class TestMemorySource(SourceContract):
    @pytest.fixture
    def make_source(self) -> SourceFactory:
        return build_memory
