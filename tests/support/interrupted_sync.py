"""Interrupt a sync after it has fetched a number of runs, and let nothing be fetched after that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support import syncing

if TYPE_CHECKING:
    from pathlib import Path

    from dr_wandb.shell.sources import Source
    from tests.support.memory_source import MemorySource


class _Interrupting:
    """Passes on what a source says, but for the histories after the first ones."""

    def __init__(self, source: MemorySource, reads: int) -> None:
        self._source = source
        self._left = reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read_history(self, *arguments: Any) -> Any:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return self._source.read_history(*arguments)


def interrupted_sync(source: MemorySource, data_root: Path, runs: int, **fields: Any) -> None:
    """Do a sync that is interrupted when the rows of some runs are fetched."""
    request = syncing.request_for(data_root, **fields)
    stopping = cast("Source", _Interrupting(source, runs))
    with pytest.raises(KeyboardInterrupt):
        syncing.export(stopping, request, now=source.now, workers=1)
