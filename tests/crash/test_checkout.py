"""Wherever a checkout is stopped, the next one ends as if nothing had been.

At every operation on files: a kill (what lies on disk at that moment, half a write too), an
interrupt and faults of the disk. Before it the folder has an older checkout; meanwhile files change
once more, so that of what was written nothing is right any longer.
"""

import errno
import shutil
from pathlib import Path

import pytest

from dr_wandb.core.contract.checked_out import CheckedOut
from dr_wandb.core.contract.failures import DiskRefused, DrWandbError
from dr_wandb.shell.store.checkout import check_out
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import CHANGES, MAKES, Fault, Stopped, images_of, stopped_at

FAULTS = [
    Fault(None),
    Fault(errno.ENOSPC, lasts_for=MAKES, tears=True),
    Fault(errno.EACCES, lasts_for=CHANGES),
]


@pytest.fixture
def stores(tmp_path: Path) -> list[ExportStore]:
    """Return three states of an export: in each the bytes of two files are others."""
    source = MemorySource()
    source.add_run("a")
    source.put_file("a", "code/train.py", b"print()\n" * 300)
    for number in range(3):
        source.advance(60)
        source.put_file("a", "config.yaml", b"lr: %d\n" % number)
        source.put_file("a", "media/image.bin", b"%d" % number * 3000)
        syncing.sync(source, tmp_path / f"{number}", extra_datasets=("files",))
    return [ExportStore(name=syncing.NAME, data_root=tmp_path / f"{one}") for one in range(3)]


def tree(target: Path) -> dict[str, bytes]:
    found = [path for path in target.rglob("*") if path.is_file()]
    return {str(path.relative_to(target)): path.read_bytes() for path in found}


def check_out_again(store: ExportStore, target: Path, expected: dict[str, bytes]) -> CheckedOut:
    done = check_out(store, target)
    assert done.complete
    assert tree(target) == expected
    assert done.files + done.same == len(expected) - 1
    return done


@pytest.mark.parametrize("link", [False, True])
def test_kill_at_any_operation_costs_nothing(
    stores: list[ExportStore], tmp_path: Path, *, link: bool
) -> None:
    """Files of a checkout that was killed counted as somebody else's, and stayed for ever."""
    before, meanwhile, after = stores
    expected = [tree_of(store, tmp_path / "expected") for store in stores]
    target = tmp_path / "killed"
    check_out(before, target)
    images = images_of(lambda: check_out(meanwhile, target, link=link), target, tmp_path / "images")
    assert images.operations > 20
    with syncing.without_fsync():
        for label, image in images.found.values():
            again = shutil.copytree(image, tmp_path / "again" / image.name)
            try:
                check_out_again(meanwhile, again, expected[1])
                check_out_again(after, image, expected[2])
            except BaseException as error:
                error.add_note(f"killed before: {label} ({image.name})")
                raise


def tree_of(store: ExportStore, folder: Path) -> dict[str, bytes]:
    target = folder / store.data_root.name
    check_out(store, target)
    return tree(target)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_at_any_operation_costs_nothing(
    stores: list[ExportStore], tmp_path: Path, fault: Fault
) -> None:
    before, meanwhile, after = stores
    expected = tree_of(after, tmp_path / "expected")
    number, ended = 0, False
    failures = []
    while not ended:
        target = tmp_path / "targets" / f"{number}"
        check_out(before, target)
        with stopped_at(number, fault):
            try:
                check_out(meanwhile, target)
                ended = True
            except Stopped:
                pass
            except DrWandbError as error:
                failures.append(error.failure)
        check_out_again(after, target, expected)
        number += 1
    assert number > 20
    assert all(isinstance(one, DiskRefused) for one in failures)
