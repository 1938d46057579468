"""Read the documents of an export: its manifest and its state.

Rules
- A document of a newer version is refused before anything else of it is read.
- Errors name the file, and what to do.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, NewerSchema, WrongExport
from dr_wandb.core.contract.records import SCHEMA_VERSION, Record
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.guards import require_visible_file
from dr_wandb.shell.store.state_files import ReadState, decode_state

_R = TypeVar("_R", bound=Record)
_D = TypeVar("_D")

Which = Callable[[Mapping[str, RunTracking]], Iterable[tuple[str, RunTracking]]]
"""Picks some of the tracked runs, with their ids."""

RESTORE = "restore it from a copy, or remove the file and sync again"


class _Versioned(msgspec.Struct):
    """The field that is checked before all others."""

    schema_version: int = 1


def read_state(path: Path) -> ReadState | None:
    """Read a state of any earlier or present form, None if there is no such file.

    A run is read only when it is looked at.
    """
    with disk_refusals(path):
        return _load(path, lambda *content: decode_state(path.parent, *content))


def load_state(path: Path, which: Which = lambda runs: runs.items()) -> ReadState | None:
    """Read a state as `read_state` does, and all its runs, or those that are picked."""
    read = read_state(path)
    if read is None:
        return None
    with disk_refusals(path):
        runs = dict(sorted(which(read.state.runs)))
        return read._replace(state=replace(read.state, runs=runs))


def load_document(path: Path, kind: type[_R]) -> _R | None:
    """Load a manifest, None if there is no such file."""
    return _load(path, lambda content, _: msgspec.json.decode(content, type=kind))


def _load(path: Path, read: Callable[[bytes, int], _D]) -> _D | None:
    """Read a document if its schema version is known."""
    with disk_refusals(path):
        require_visible_file(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        version = msgspec.json.decode(content, type=_Versioned).schema_version
        if version > SCHEMA_VERSION:
            raise DrWandbError(NewerSchema(path=str(path), found=version, known=SCHEMA_VERSION))
        if version < 1:
            raise ValueError(f"there is no schema_version {version}")
        return read(content, version)
    except (ValueError, RecursionError) as error:
        raise DrWandbError(DamagedFile(path=str(path), reason=str(error), remedy=RESTORE)) from None


def check_identity(path: Path, entity: str, project: str, *wanted: str) -> None:
    """Raise DrWandbError if a file belongs to another project than the wanted one."""
    if (entity, project) != wanted:
        raise DrWandbError(
            WrongExport(path=str(path), found=f"{entity}/{project}", wanted="/".join(wanted))
        )
