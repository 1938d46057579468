"""Every visible file that the recorded project gives, byte by byte.

The snapshots lie beside this file as they would lie in an export. Only the tool's version in the
manifest is written as VERSION, so that a release changes no snapshot.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension

from dr_wandb import ExportEngine, ExportRequest, ExportSummary
from dr_wandb.core.contract.version import VERSION
from dr_wandb.shell.sources.opening import source_opener
from tests.support.checkout import RECORDING
from tests.support.state_files import whole_state
from tests.support.syncing import (
    ALWAYS_THERE,
    SOMETIMES_THERE,
    lines,
    select,
    visible,
    without_source,
)

NAME = "demo"

METADATA: dict[str, Any] = {"mode": "metadata"}
HISTORY: dict[str, Any] = {"mode": "history"}
KEYS_AND_WINDOW = HISTORY | {
    "history_selection": select("val/loss", "train.loss", min_step=35, max_step=60)
}
LAST_RECORDS = HISTORY | {"history_selection": select(max_records=2)}

CASES: dict[str, list[dict[str, Any]]] = {
    "metadata": [METADATA],
    "history": [HISTORY],
    "keys-and-window": [KEYS_AND_WINDOW],
    "last-records": [LAST_RECORDS],
    "metadata-after-history": [LAST_RECORDS, METADATA],
}


class JsonFile(SingleFileSnapshotExtension):
    file_extension = "json"


class JsonLinesFile(SingleFileSnapshotExtension):
    file_extension = "jsonl"


def replay(data_root: Path, *, workers: int = 4, **fields: Any) -> ExportSummary:
    """Sync from the recording, with its own clock, as `--source replay:DIR` does."""
    request = ExportRequest(
        entity="demo-lab", project="tiny-vision", name=NAME, data_root=data_root, **fields
    )
    return ExportEngine(
        request, source=source_opener(f"replay:{RECORDING}"), workers=workers
    ).export()


def test_replay_of_the_demo_is_complete(tmp_path: Path) -> None:
    summary = replay(tmp_path, **HISTORY)
    assert summary.complete
    assert (summary.run_count, summary.history_count) == (10, 2115)
    assert summary.exported_at == "2026-03-10T12:00:00Z"


@pytest.mark.parametrize("case", CASES)
def test_replay_writes_the_bytes_of_the_snapshots(
    case: str, tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    for fields in CASES[case]:
        replay(tmp_path, **fields)
    files = visible(tmp_path / NAME)
    expected = ALWAYS_THERE | SOMETIMES_THERE
    absent = {
        "system.jsonl",
        "console.jsonl",
        "files.jsonl",
        "artifacts.jsonl",
        "sweeps.jsonl",
        "reports.jsonl",
    }
    if case == "metadata":
        absent.add("history.jsonl")
    assert set(files) == expected - absent
    remembered = json.dumps(whole_state(tmp_path / NAME), indent=2, sort_keys=True)
    files["remembered.json"] = f"{remembered}\n".encode()
    for name, content in files.items():
        stem, _, suffix = name.partition(".")
        extension = JsonFile if suffix == "json" else JsonLinesFile
        if name == "manifest.json":
            version = f'"tool_version": "{VERSION}"'.encode()
            assert version in content
            content = content.replace(version, b'"tool_version": "VERSION"')
            content = without_source({name: content})[name]
        assert content == snapshot(name=stem, extension_class=extension), name


@pytest.mark.parametrize("case", CASES)
def test_second_replay_changes_no_byte(case: str, tmp_path: Path) -> None:
    for fields in CASES[case]:
        replay(tmp_path, **fields)
    before = visible(tmp_path / NAME)
    replay(tmp_path, **CASES[case][-1])
    assert visible(tmp_path / NAME) == before


@pytest.mark.parametrize("case", CASES)
def test_number_of_workers_does_not_show_in_the_bytes(case: str, tmp_path: Path) -> None:
    for workers in (1, 8):
        for fields in CASES[case]:
            replay(tmp_path / str(workers), workers=workers, **fields)
    alone, together = (visible(tmp_path / workers / NAME) for workers in ("1", "8"))
    assert alone == together


def test_metadata_sync_leaves_the_history_as_it_was(tmp_path: Path) -> None:
    replay(tmp_path, **LAST_RECORDS)
    before = visible(tmp_path / NAME)
    replay(tmp_path, **METADATA)
    assert visible(tmp_path / NAME) == before


@pytest.mark.parametrize("last", ["history", "keys-and-window", "last-records"])
def test_changed_selection_gives_what_a_fresh_export_gives(last: str, tmp_path: Path) -> None:
    for case in ("last-records", "keys-and-window", "history", last):
        replay(tmp_path / "changed", **CASES[case][-1], allow_narrower=True)
    replay(tmp_path / "fresh", **CASES[last][-1])
    changed, fresh = (visible(tmp_path / root / NAME) for root in ("changed", "fresh"))
    for name in ("runs.jsonl", "history.jsonl"):
        assert changed[name] == fresh[name]


def test_last_records_are_the_last_lines_of_each_run(tmp_path: Path) -> None:
    replay(tmp_path / "all", **HISTORY)
    replay(tmp_path / "last", **LAST_RECORDS)
    kept: dict[str, list[bytes]] = {}
    for line in lines(visible(tmp_path / "all" / NAME), "history.jsonl"):
        kept.setdefault(json.loads(line)["run_id"], []).append(line)
    expected = [line for run_id in sorted(kept) for line in kept[run_id][-2:]]
    assert lines(visible(tmp_path / "last" / NAME), "history.jsonl") == expected


COMMAND = """
import sys
from dr_wandb.cli import run
code = run(sys.argv[1:])
heavy = {"wandb", "pyarrow"} & {name.partition(".")[0] for name in sys.modules}
assert not heavy, heavy
sys.exit(code)
"""


@contextmanager
def finished_command(*arguments: str) -> Iterator[tuple[dict[str, Any], Path]]:
    with TemporaryDirectory() as folder:
        ended = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments, "--data-root", folder],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        yield json.loads(ended.stdout), Path(folder)


def test_command_replays_to_the_same_bytes_and_imports_nothing_heavy(tmp_path: Path) -> None:
    replay(tmp_path, **KEYS_AND_WINDOW)
    arguments = ["demo-lab", "tiny-vision", "--name", NAME, "--mode", "history", "--json"]
    selection = ["--history-key", "val/loss", "--history-key", "train.loss"]
    window = ["--min-step", "35", "--max-step", "60"]
    source = ["--source", f"replay:{RECORDING}"]
    with finished_command(*arguments, *selection, *window, *source) as (summary, folder):
        assert summary["run_count"] == 10
        made, replayed = visible(folder / NAME), visible(tmp_path / NAME)
        assert without_source(made) == without_source(replayed)
