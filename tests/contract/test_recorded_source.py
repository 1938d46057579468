"""A recording of everything passes the contract of sources, and so does what is being recorded."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from dr_wandb.core.contract.dataset import CONSOLE, FILES, SYSTEM
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import EveryRun
from dr_wandb.shell.sources import Source, SourceError
from dr_wandb.shell.sources.datasets import Known, find_lister, find_reader
from dr_wandb.shell.sources.recording.recorder import Recorder
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.contract.source_contract import SourceContract, SourceFactory
from tests.support.asking import list_all
from tests.support.build_memory import build_memory
from tests.support.described_project import PROJECT, ProjectDescription


def start_recording(described: ProjectDescription, folder: Path) -> Recorder:
    return Recorder(
        build_memory(described),
        folder,
        recorded_at="2026-03-01T00:00:00Z",
        entity=described.entity,
        project=described.project,
        mode="history",
    )


def ask_everything(source: Source) -> None:
    """Ask a source all that a recording can hold."""
    list(source.list_runs(EveryRun()))
    for run in list_all(source).values():
        list(source.read_history(run, FetchWindow(), 0))
        for dataset in (CONSOLE, SYSTEM, FILES):
            read = find_reader(source, dataset)
            assert read is not None
            list(read(run, FetchWindow(), 0))
        with suppress(SourceError):
            source.read_metadata(run)
    for dataset in ("artifacts", "reports", "sweeps"):
        lister = find_lister(source, dataset)
        assert lister is not None
        list(lister(Known(runs=tuple(list_all(source)))))


def record(described: ProjectDescription, folder: Path) -> Path:
    with start_recording(described, folder) as recorder:
        ask_everything(recorder)
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of the project that most tests have; reading it changes nothing."""
    return record(PROJECT, tmp_path_factory.mktemp("recorded") / "recording")


class TestRecordedSource(SourceContract):
    @pytest.fixture
    def make_source(self, recording: Path, tmp_path: Path) -> SourceFactory:
        numbers = itertools.count()

        def replay(described: ProjectDescription) -> Source:
            if described is PROJECT:
                return RecordedSource(recording)
            return RecordedSource(record(described, tmp_path / f"recording-{next(numbers)}"))

        return replay


class TestRecorder(SourceContract):
    @pytest.fixture
    def make_source(self, tmp_path: Path) -> Iterator[SourceFactory]:
        with ExitStack() as recorders:
            yield lambda described: recorders.enter_context(
                start_recording(described, tmp_path / "recording")
            )
