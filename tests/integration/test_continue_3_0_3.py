"""Continue an export that the real dr-wandb 3.0.3 wrote: without a duplicate, without a loss."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from fixtures.make_export_of_3_0_3 import ENTITY, NAME, PROJECT, build_before, grow, grow_after

from dr_wandb import iter_history_rows, load_manifest, load_run_snapshots
from dr_wandb.core.contract.records import WITHOUT_PARQUET
from tests.support.checkout import EXPORT_OF_3_0_3
from tests.support.parquet_exports import lines_in

if TYPE_CHECKING:
    from tests.support.command import Command, Outcome
    from tests.support.server import StandInServer

FIXTURE = EXPORT_OF_3_0_3


def sync(command: Command, name: str, *flags: str) -> Outcome:
    outcome = command(ENTITY, PROJECT, "--name", name, *flags)
    assert outcome.code == 0, outcome.stderr
    return outcome


def rows_of(outcome: Outcome) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in outcome.rows():
        rows.setdefault(row["run_id"], []).append(row)
    return rows


def test_loaders_read_what_3_0_3_wrote() -> None:
    root = FIXTURE.parent
    manifest = load_manifest(NAME, root)
    assert manifest is not None
    assert (manifest.schema_version, manifest.mode, manifest.history_count) == (1, "history", 39)
    snapshots = load_run_snapshots(NAME, root)
    assert [snapshot.run.run_id for snapshot in snapshots][:2] == ["new00001", "live0001"]
    assert snapshots[0].run.user is not None
    assert snapshots[0].run.user.username == "ada"
    assert len(list(iter_history_rows(NAME, root))) == 39


def test_export_of_3_0_3_is_continued_without_a_duplicate_or_a_loss(
    server: StandInServer, command: Command
) -> None:
    """3.0.3 had stored three rows twice, one not at all, and floats with digits of its own."""
    project = build_before(server)
    grow(project)
    grow_after(project)
    shutil.copytree(FIXTURE, command.data_root / NAME)
    continued = sync(command, NAME, "--mode", "history")
    assert "3.0.3" in continued.stderr
    fresh = sync(command, "fresh", "--mode", "history", "--sync-mode", "full_reconcile")
    kept, expected = rows_of(continued), rows_of(fresh)
    assert [row["metrics"] for row in kept.pop("gone0001")] == [
        {"loss": loss} for loss in (5, 4, 3, 2, 1)
    ]
    assert kept == expected
    live = [(row["step"], row["metrics"]) for row in kept["live0001"]]
    assert (2, {"late": 1}) in live
    assert {row["metrics"].get("loss") for row in kept["done0001"]} >= {0.337640966, 0.01, "NaN"}
    assert continued.summary["missing_count"] == 1
    assert continued.summary["run_count"] == 5
    shutil.copytree(FIXTURE, command.data_root / "as-parquet")
    columns = sync(command, "as-parquet", "--mode", "history", "--format", "parquet")
    lines = (continued.folder / "history.jsonl").read_bytes()
    assert lines_in(columns.folder) == (columns.folder / "history.jsonl").read_bytes() == lines
    text = (continued.folder / "runs.jsonl").read_text(encoding="utf-8")
    assert "<User" not in text
    assert "läuft 🏃" in text


def test_export_of_3_0_3_is_complete_once_it_was_continued(
    server: StandInServer, command: Command
) -> None:
    """After the one time that each history is read again, nothing is."""
    project = build_before(server)
    grow(project)
    grow_after(project)
    shutil.copytree(FIXTURE, command.data_root / NAME)
    first = sync(command, NAME, "--mode", "history")
    before = {path.name: path.read_bytes() for path in first.folder.glob("*.jsonl")}
    second = sync(command, NAME, "--mode", "history")
    assert not second.asked
    assert {path.name: path.read_bytes() for path in second.folder.glob("*.jsonl")} == before
    manifest = json.loads((second.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["runs_path"] == "runs.jsonl"
    assert manifest["schema_version"] == WITHOUT_PARQUET


def test_metadata_sync_keeps_the_history_that_3_0_3_wrote(
    server: StandInServer, command: Command
) -> None:
    build_before(server)
    shutil.copytree(FIXTURE, command.data_root / NAME)
    outcome = sync(command, NAME)
    rows = rows_of(outcome)
    assert {run_id: len(found) for run_id, found in rows.items()} == {
        "dense001": 10,
        "done0001": 13,
        "gone0001": 5,
        "live0001": 7,
        "new00001": 1,
    }
    assert outcome.summary["history_count"] == 36
