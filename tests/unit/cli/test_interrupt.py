"""What a command says that was interrupted, by what the sync had done until then."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dr_wandb import ExportEngine
from dr_wandb.cli import interrupt, run
from dr_wandb.cli.interrupt import InterruptedSyncError, interrupt_on_signals, reported_interrupt
from dr_wandb.core.contract.failures import EXIT_INTERRUPTED
from dr_wandb.core.contract.request import SyncMode
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    source.add_run("a")
    source.log("a", {"loss": 0.5})
    return source


def test_interrupt_after_the_commit_says_that_the_sync_is_complete(
    source: MemorySource, tmp_path: Path
) -> None:
    request = syncing.request_for(tmp_path)

    def sync_and_interrupt() -> None:
        with reported_interrupt(request, "api"):
            syncing.sync(source, tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(InterruptedSyncError) as caught:
        sync_and_interrupt()
    assert str(caught.value) == f"interrupted after the sync of {NAME} was complete"


def test_command_that_goes_on_has_the_flags_that_it_needs(
    source: MemorySource, tmp_path: Path
) -> None:
    data_root = tmp_path / "a folder"
    syncing.sync(source, data_root)
    request = syncing.request_for(data_root, sync_mode=SyncMode.DETECT_CHANGES)
    with pytest.raises(InterruptedSyncError) as caught, reported_interrupt(request, "api"):
        raise KeyboardInterrupt
    again = "to go on, run the same command again"
    assert str(caught.value).splitlines()[-1] == again  # the source was one of a program
    command = interrupt.sync_command(request)
    flags = f"--data-root '{data_root}' --sync-mode detect_changes"
    assert command == f"wandb-export sync {NAME} {flags}"


def test_interrupted_command_that_is_no_sync_says_just_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def plan(engine: ExportEngine) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ExportEngine, "plan", plan)
    root = str(tmp_path)
    assert run(["e", "p", "--name", "n", "--data-root", root, "--dry-run"]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


@pytest.fixture
def handlers() -> Iterator[Callable[[int], object]]:
    """Yield a function that returns the handler of a signal; all are put back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield signal.getsignal
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_that_is_ignored_stays_so(handlers: Callable[[int], object]) -> None:
    """A shell that starts a command in the background lets it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupt_on_signals()
    assert handlers(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt_on_signals()
    assert handlers(signal.SIGINT) is handlers(signal.SIGTERM)
