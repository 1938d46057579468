"""The in-memory project passes the contract of sources."""

import pytest

from tests.contract.source_contract import SourceContract, SourceFactory
from tests.support.build_memory import build_memory


class TestMemorySource(SourceContract):
    @pytest.fixture
    def make_source(self) -> SourceFactory:
        return build_memory
