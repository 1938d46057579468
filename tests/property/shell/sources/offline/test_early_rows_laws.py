"""Law of rows that are written while their file is read: the export is the same without that."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from dr_wandb.core.offline import rows as offline_rows
from dr_wandb.shell.sync import file_segments
from dr_wandb.shell.sync.segments import make_segment
from tests.support import syncing
from tests.support.inline_executor import InlineExecutor
from tests.support.offline_folders import put, sync_folder
from tests.support.strategies import clean_texts, json_values
from tests.support.syncing import NAME, select, visible
from tests.support.wandb_file import (
    HEADER,
    exit_record,
    file_of,
    header_record,
    history_record,
    item,
    run_record,
)

FOLDERS = ("one", "two", "same")
"""By what folders are called; runs may have another id, and be the same in two of them."""

selections = st.sampled_from(
    [
        {},
        {},
        {},
        {"history_selection": select(max_records=2)},
        {"history_selection": select("loss")},
    ]
)


@st.composite
def rows(draw: Any) -> list[bytes]:
    """Rows whose steps rise, but for a few."""
    metrics = draw(st.dictionaries(clean_texts | st.just("loss"), json_values, max_size=3))
    step, made = draw(st.integers(-2, 3)), []
    has_steps = draw(st.integers(0, 4)) > 0
    for _ in range(draw(st.integers(0, 6))):
        values = {**metrics, "loss": draw(json_values)} if draw(st.booleans()) else metrics
        own = {"_step": step, "_timestamp": 1.7e9 + step} if has_steps else {}
        made.append(history_record([item(k, json.dumps(v)) for k, v in {**values, **own}.items()]))
        step += draw(st.sampled_from([*[1] * 12, 2, 5, 0, -1]))
    return made


@st.composite
def files(draw: Any, name: str) -> bytes:
    """A file as a training leaves it, or seldom a damaged or a cut one."""
    run_id = name if draw(st.integers(0, 3)) else "same"
    ends = [exit_record()] if draw(st.booleans()) else []
    content = bytearray(file_of([header_record(), run_record(run_id), *draw(rows()), *ends]))
    if draw(st.integers(0, 9)) == 9:
        content[draw(st.integers(len(HEADER), len(content) - 1))] ^= draw(st.integers(1, 255))
    if draw(st.integers(0, 9)) == 9:
        del content[draw(st.integers(len(HEADER), len(content))) :]
    return bytes(content)


@given(
    st.fixed_dictionaries({name: files(name) for name in FOLDERS}),
    files("one"),
    selections,
    st.sampled_from([1, 3, 8192]),
)
def test_export_is_the_same_whether_rows_are_written_early_or_not(
    contents: dict[str, bytes], later: bytes, selection: dict[str, Any], at_once: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as temporary,
        syncing.without_fsync(),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(offline_rows, "ROWS_AT_ONCE", at_once)
        named: list[int] = []

        def make(*given: Any) -> Any:
            named.append(1)
            return make_segment(*given)

        patch.setattr(file_segments, "make_segment", make)
        below = Path(temporary)
        folder = below / "wandb"
        exports: list[dict[str, bytes]] = []
        for name, content in contents.items():
            put(folder, name, content)

        def sync_both() -> None:
            del exports[:]
            for executor in (None, InlineExecutor()):
                data_root = below / type(executor).__name__
                sync_folder(folder, data_root, executor=executor, **selection)
                exports.append(visible(data_root / NAME))
                assert not list((data_root / NAME).glob(".staging*"))

        sync_both()
        assert exports[0] == exports[1]
        event("named" if named else "read again")
        put(folder, "one", later)
        put(folder, "new", contents["one"].replace(b"one", b"new"))
        sync_both()
        assert exports[0] == exports[1]
