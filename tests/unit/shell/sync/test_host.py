"""The W&B server that an export is from: the first one that it sees."""

from pathlib import Path

import pytest

from dr_wandb import load_manifest
from dr_wandb.core.contract.failures import DrWandbError
from tests.support import syncing
from tests.support.memory_source import MemorySource


class Server(MemorySource):
    """A source that asks a server; other sources have no `host`, like recordings and files."""

    host = "https://one.example.org"


def host_after(source: MemorySource, data_root: Path) -> str:
    source.add_run("a")
    syncing.sync(source, data_root)
    manifest = load_manifest(syncing.NAME, data_root)
    assert manifest is not None
    assert manifest.requested is not None
    return manifest.requested.host


def test_export_without_a_server_takes_the_first_and_keeps_it(tmp_path: Path) -> None:
    assert host_after(MemorySource(), tmp_path) == ""
    assert host_after(Server(), tmp_path) == Server.host
    assert host_after(MemorySource(), tmp_path) == Server.host
    other = Server()
    other.host = "https://two.example.org"
    with pytest.raises(DrWandbError, match="use another --name"):
        host_after(other, tmp_path)
