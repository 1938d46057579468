import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dr_wandb import DrWandbError
from dr_wandb.core.contract.failures import Locked
from dr_wandb.shell.store.lock import HOLDER_FILE, LOCK_FILE, locked, read_holder

HOLD = """
import sys, time
from pathlib import Path
from dr_wandb.shell.store.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_second_sync_is_refused_at_once_with_the_holder_of_the_lock(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path) as process:
        try:
            with pytest.raises(DrWandbError) as caught, locked(tmp_path):
                raise AssertionError("both have the lock")
            assert isinstance(caught.value.failure, Locked)
            assert f"process {process.pid} on " in str(caught.value)
        finally:
            process.kill()


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with locked(tmp_path):
        holder = read_holder(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()


def test_lock_is_given_back_with_nothing_left_beside_it(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path):
            pass
        assert {path.name for path in tmp_path.iterdir()} <= {LOCK_FILE}


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_note_that_cannot_be_removed_ends_no_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that had put its files in place was reported as refused by the disk.

    And each later sync of the same process failed as "in use".
    """
    refused = []
    with monkeypatch.context() as patch:

        def refuse(path: Path, missing_ok: bool = False) -> None:
            refused.append(path.name)
            raise PermissionError(path)

        with locked(tmp_path):
            patch.setattr(Path, "unlink", refuse)
    assert refused == [HOLDER_FILE]
    with locked(tmp_path):
        pass


def test_folders_that_were_made_for_nothing_go_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "root" / "name"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_folders_with_something_in_them_stay(tmp_path: Path) -> None:
    with locked(tmp_path / "root" / "name"):
        (tmp_path / "root" / "name" / "state.json").write_text("{}")
    assert (tmp_path / "root" / "name" / "state.json").exists()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}'])
def test_note_that_does_not_read_does_not_hide_the_lock(tmp_path: Path, note: str) -> None:
    with locked(tmp_path):
        (tmp_path / HOLDER_FILE).write_text(note)
        with pytest.raises(DrWandbError, match="another process"), locked(tmp_path):
            pass
