"""Read and write the tool's memory: `state.json`, the store of runs and its changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace
from returns.pipeline import is_successful
from returns.result import Failure, Result, Success

from dr_wandb.core.contract.codec import encode_document, encode_line
from dr_wandb.core.contract.earlier_states import StateHead, read_head, read_state
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STATE_FILE, STORE_FILE
from dr_wandb.core.contract.known_runs import ChangedRuns
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.state_form import (
    SMALL_STATE,
    StoreChanges,
    changes_of_store,
    in_state_file,
)
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_files import digest_of
from dr_wandb.shell.store.commit import STAGING_FOLDER, StagedFile, describe_staged, stage_document
from dr_wandb.shell.store.tracked_store import TrackedRuns, write_store

_CHANGES = msgspec.json.Decoder(StoreChanges)
_UNTYPED = msgspec.json.Decoder(dict[str, Any])


class LostStore(NamedTuple):
    """Why the store of the runs cannot be used: what is wrong with the file at `path`.

    damaged: it changed since it was written; else it is missing.
    """

    path: Path
    problem: str
    damaged: bool


class ReadState(NamedTuple):
    """The stored state of an export. lost: its runs are known only as far as 3.0.3 knows them."""

    state: ExportState
    lost: LostStore | None = None

    @property
    def schema_version(self) -> int:
        """Return the schema version of the state."""
        return self.state.schema_version


def decode_state(folder: Path, content: bytes, schema_version: int) -> ReadState:
    """Decode the `state.json` of a folder, and find the tracking of its runs.

    A run is read only when it is looked at. Raises ValueError if the content is not a state.
    """
    head = read_head(content)
    if not head.tracked:
        return ReadState(read_state(content, schema_version))
    found = _find_store(folder, head)
    if is_successful(found):
        return ReadState(found.unwrap())
    return ReadState(read_state(content, schema_version), found.failure())


def _find_store(folder: Path, head: StateHead) -> Result[ExportState, LostStore]:
    path, store = folder / CHANGES_OF_STORE_FILE, folder / STORE_FILE
    try:
        changes = _CHANGES.decode(path.read_bytes())
    except FileNotFoundError:
        return Failure(LostStore(path, "is missing", damaged=False))
    except (ValueError, RecursionError) as error:
        return Failure(LostStore(path, f"cannot be read: {error}", damaged=True))
    state = changes.state
    if (state.entity, state.project, state.tracked) != (head.entity, head.project, head.tracked):
        return Failure(LostStore(path, f"and {STATE_FILE} are from different syncs", damaged=True))
    digest = digest_of(store)
    if not digest:
        return Failure(LostStore(store, "is missing", damaged=False))
    if digest != changes.store:
        return Failure(LostStore(store, "was changed after it was written", damaged=True))
    return Success(replace(state, runs=TrackedRuns(store, changes)))


def stage_state(
    folder: Path, state: ExportState, after: Mapping[str, RunTracking]
) -> tuple[dict[str, StagedFile], str]:
    """Write the files of a state into the staging folder; return them, and the store's SHA-256.

    state: its runs are those before the sync, with the changes of the sync. after: the same runs,
    with the byte ranges that their records have now.
    """
    runs = state.runs
    assert isinstance(runs, ChangedRuns)
    changes = None
    same_version = isinstance(runs.before, TrackedRuns) and (
        runs.before.changes.state.schema_version == state.schema_version
    )
    if isinstance(runs.before, TrackedRuns) and same_version:
        changes = changes_of_store(runs.before.changes, state, runs, after)
    staged = {}
    small = len(runs) <= SMALL_STATE
    if changes is None:
        path = folder / STAGING_FOLDER / STORE_FILE
        tracked = write_store(path, after, state.last_exported_at)
        file = describe_staged(folder, STORE_FILE, path, disk.sha256_of(path))
        staged[STORE_FILE] = file
        state = replace(state, tracked=tracked)
        changes = StoreChanges(state=replace(state, runs={}), store=file.sha256)
    content = encode_line(changes)
    staged[CHANGES_OF_STORE_FILE] = stage_document(folder, CHANGES_OF_STORE_FILE, content)
    if small or STORE_FILE in staged:
        visible = encode_document(in_state_file(replace(state, runs=after)))
        staged[STATE_FILE] = stage_document(folder, STATE_FILE, visible)
    return staged, changes.store


def stage_changes_length(folder: Path, length: int) -> dict[str, StagedFile]:
    """Write the files of a state with another length of `changes.jsonl` into the staging folder.

    A state of an earlier version stays one. A file that is missing or damaged is not written: the
    next sync says so, and knows the length from the manifest.
    """
    staged = {}
    for name, inside in ((CHANGES_OF_STORE_FILE, True), (STATE_FILE, False)):
        try:
            document = _UNTYPED.decode((folder / name).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            continue
        state = document.get("state") if inside else document
        if isinstance(state, dict):
            state["changes_length"] = length
            spell = encode_line if inside else encode_document
            staged[name] = stage_document(folder, name, spell(document))
    return staged
