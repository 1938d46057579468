"""What the tool remembers of an export, as one document: to look at it, and to edit it by hand."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract import state_form
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.shell.store import state_files
from dr_wandb.shell.store.documents import load_state


def whole_state(folder: Path) -> dict[str, Any]:
    """Return all that is remembered."""
    read = load_state(folder / "state.json")
    assert read is not None
    assert not read.lost
    document: dict[str, Any] = json.loads(encode_document(replace(read.state, tracked="")))
    return document


def put_state(folder: Path, document: dict[str, Any]) -> None:
    """Remember a document: all of it lies in `state.json`, as builds up to version 5 wrote it."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "state.json").write_text(f"{text}\n", encoding="utf-8")
    for name in (STORE_FILE, CHANGES_OF_STORE_FILE):
        (folder / name).unlink(missing_ok=True)


def edit_state(folder: Path, change: Callable[[Any], object]) -> None:
    """Change what is remembered."""
    document = whole_state(folder)
    change(document)
    put_state(folder, document)


@contextmanager
def as_if_large() -> Iterator[None]:
    """Keep the store and `state.json` as they are for as long as an export of many runs would.

    The store is written again only once all of its runs have changed.
    """
    with (
        mock.patch.object(state_form, "RUNS_PER_CHANGE", 1),
        mock.patch.object(state_files, "SMALL_STATE", 0),
    ):
        yield


def as_json(record: msgspec.Struct) -> Any:
    """Return a record as any JSON reader reads it."""
    return json.loads(msgspec.json.encode(record))
