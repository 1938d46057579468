"""Stop a sync between any two of its operations on disk, or look at the disk at that moment."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.shell import disk

FUNCTIONS = ("sync_folder", "sync_file", "write_file", "rename", "remove")
METHODS = ("unlink", "mkdir", "rmdir", "write_text")


class Stopped(BaseException):
    """Ends a sync like an interrupt: no handler of ordinary errors catches it."""


@contextmanager
def observed(before: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `before(name, first argument)` before each operation that changes the disk."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FUNCTIONS:
            patch.setattr(disk, name, _told(getattr(disk, name), name, before))
        for name in METHODS:
            patch.setattr(Path, name, _told(getattr(Path, name), name, before))
        patch.setattr(shutil, "rmtree", _told(shutil.rmtree, "rmtree", before))
        open_file = Path.open

        def open_and_tell(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if set(mode) & {"w", "a", "x"}:
                before("open", path)
            return open_file(path, mode, *arguments, **options)

        patch.setattr(Path, "open", open_and_tell)
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def _told(function: Any, name: str, before: Callable[[str, Any], None]) -> Any:
    def tell(first: Any, *arguments: Any, **options: Any) -> Any:
        before(name, first)
        return function(first, *arguments, **options)

    return tell


def images_of(work: Callable[[], Any], data_root: Path, target: Path) -> list[tuple[str, Path]]:
    """Do the work, and copy `data_root` before each operation: what a kill would leave then.

    Where a file is about to become durable there is a second copy with half of it.
    """
    images: list[tuple[str, Path]] = []
    at_work = False

    def copy(name: str) -> Path:
        image = target / f"{len(images):03d}"
        if data_root.exists():
            shutil.copytree(data_root, image)
        images.append((name, image))
        return image

    def before(name: str, first: Any) -> None:
        nonlocal at_work
        if at_work:
            return
        at_work = True
        label = f"{name} {getattr(first, 'name', '')}".replace(str(data_root), "")
        copy(label)
        if name == "sync_file":
            first.flush()
            torn = copy(f"torn {label}") / Path(first.name).relative_to(data_root)
            os.truncate(torn, torn.stat().st_size // 2)
        at_work = False

    with observed(before):
        work()
    copy("done")
    return images


@contextmanager
def stopped_at(number: int, error: BaseException) -> Iterator[list[str]]:
    """Raise `error` at the operation of this number; gives the list of operations so far."""
    done: list[str] = []

    def before(name: str, first: Any) -> None:
        done.append(f"{name} {getattr(first, 'name', '')}")
        if len(done) == number + 1:
            raise error

    with observed(before):
        yield done
