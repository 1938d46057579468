"""Continue the exports of earlier commits, which are never made again: users have such exports."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.make_golden_exports import SOME_KEYS, SOME_STEPS

from dr_wandb import (
    ExportEngine,
    ExportRequest,
    ExportStore,
    ExportSummary,
    iter_history_rows,
    load_manifest,
)
from dr_wandb.core.contract.records import WITHOUT_PARQUET
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.support.checkout import ROOT
from tests.support.parquet_exports import lines_in
from tests.support.syncing import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIXTURES = ROOT / "fixtures"
EXPORTS = FIXTURES / "exports" / "567aa1b"
OF_VERSIONS = {4: "a419552", 5: "c41e914"}
"""Commits that wrote states of earlier schema versions, whose data files have the present shape.

In version 4 what is known of the history lies among what is known of the run. In version 5 all that
is known of all runs lies in `state.json`.
"""

DATA = ("runs.jsonl", "history.jsonl")

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "demo-metadata": ("tiny-vision", {"mode": "metadata"}),
    "demo-history": ("tiny-vision", {"mode": "history"}),
    "demo-selection": ("tiny-vision", {"mode": "history", "history_selection": SOME_STEPS}),
    "every-kind-history": ("every-kind", {"mode": "history"}),
    "every-kind-selection": ("every-kind", {"mode": "history", "history_selection": SOME_KEYS}),
}


def replay(recording: str, name: str, data_root: Path, **wanted: Any) -> ExportSummary:
    folder = FIXTURES / "recorded" / recording
    head = json.loads((folder / "recording.json").read_text(encoding="utf-8"))
    address = {key: head[key] for key in ("entity", "project")}
    request = ExportRequest(**address, name=name, data_root=data_root, **wanted)
    return ExportEngine(request, source=source_opener(f"replay:{folder}")).export()


@pytest.mark.parametrize("case", CASES)
def test_golden_export_loads(case: str) -> None:
    manifest = load_manifest(case, EXPORTS)
    assert manifest is not None
    assert len(list(iter_history_rows(case, EXPORTS))) == (manifest.history_count or 0)


def assert_runs_are_kept(after: bytes, before: bytes) -> None:
    """A field that the earlier commit did not know may have come; all others are as they were."""
    for line, line_before in zip(after.splitlines(), before.splitlines(), strict=True):
        run, run_before = json.loads(line)["run"], json.loads(line_before)["run"]
        assert {field: run[field] for field in run_before} == run_before
        assert line == line_before or run.keys() > run_before.keys()


@pytest.mark.parametrize("case", CASES)
def test_golden_export_is_sound_by_its_own_rules(case: str) -> None:
    report = verify_export(ExportStore(name=case, data_root=EXPORTS))
    assert report.sound, report.findings


@pytest.mark.parametrize("case", CASES)
def test_golden_export_is_continued_into_the_present_shape(case: str, tmp_path: Path) -> None:
    recording, wanted = CASES[case]
    shutil.copytree(EXPORTS / case, tmp_path / case)
    summary = replay(recording, case, tmp_path, **wanted)
    assert summary.complete, summary.failures
    replay(recording, "fresh", tmp_path, **wanted)
    continued, fresh = visible(tmp_path / case), visible(tmp_path / "fresh")
    for name in DATA:
        assert continued.get(name) == fresh.get(name)
    assert json.loads(continued["manifest.json"])["schema_version"] == WITHOUT_PARQUET
    assert verify_export(ExportStore(name=case, data_root=tmp_path)).sound
    replay(recording, case, tmp_path, **wanted)
    assert visible(tmp_path / case) == continued


@pytest.mark.parametrize("case", [case for case in CASES if case != "demo-metadata"])
def test_golden_export_is_continued_as_parquet(case: str, tmp_path: Path) -> None:
    recording, wanted = CASES[case]
    shutil.copytree(EXPORTS / case, tmp_path / case)
    replay(recording, case, tmp_path, **wanted, formats=("parquet",))
    replay(recording, "fresh", tmp_path, **wanted)
    rows = (tmp_path / "fresh" / "history.jsonl").read_bytes()
    folder, store = tmp_path / case, ExportStore(name=case, data_root=tmp_path)
    assert (folder / "history.jsonl").read_bytes() == lines_in(folder) == rows
    assert verify_export(store).sound
    replay(recording, case, tmp_path, **wanted, drop_formats=("jsonl",))
    assert not (folder / "history.jsonl").exists()
    assert lines_in(folder) == rows
    assert verify_export(store).sound
    fresh = list(iter_history_rows("fresh", tmp_path))
    assert list(iter_history_rows(case, tmp_path)) == fresh


@pytest.mark.parametrize("version", OF_VERSIONS)
@pytest.mark.parametrize("case", ["every-kind-history", "every-kind-selection"])
def test_export_of_an_earlier_schema_version_is_continued_without_asking_for_a_history(
    case: str, version: int, tmp_path: Path
) -> None:
    recording, wanted = CASES[case]
    exports = FIXTURES / "exports" / OF_VERSIONS[version]
    assert json.loads((exports / case / "state.json").read_bytes())["schema_version"] == version
    assert verify_export(ExportStore(name=case, data_root=exports)).sound
    shutil.copytree(exports / case, tmp_path / case)
    before = visible(tmp_path / case)
    source = Refusing(FIXTURES / "recorded" / recording)
    address: dict[str, Any] = {"entity": source.entity, "project": source.project}
    request = ExportRequest(**address, name=case, data_root=tmp_path, **wanted)
    assert ExportEngine(request, source=source).export().complete
    after = visible(tmp_path / case)
    assert after["history.jsonl"] == before["history.jsonl"]
    assert_runs_are_kept(after["runs.jsonl"], before["runs.jsonl"])
    assert json.loads(after["state.json"])["schema_version"] == WITHOUT_PARQUET
    assert verify_export(ExportStore(name=case, data_root=tmp_path)).sound


@pytest.mark.parametrize("case", [case for case in CASES if case != "demo-metadata"])
def test_rows_get_the_present_shape_in_metadata_mode_without_a_request(
    case: str, tmp_path: Path
) -> None:
    """What their own bytes cannot give back is as it was; nothing is logged as a change."""
    recording, wanted = CASES[case]
    shutil.copytree(EXPORTS / case, tmp_path / case)
    before = visible(EXPORTS / case)
    assert replay(recording, case, tmp_path, mode="metadata").complete
    after = visible(tmp_path / case)
    assert after["changes.jsonl"] == before["changes.jsonl"]
    assert_runs_are_kept(after["runs.jsonl"], before["runs.jsonl"])
    assert verify_export(ExportStore(name=case, data_root=tmp_path)).sound
    replay(recording, "fresh", tmp_path, **wanted)
    fresh = rows_by_run(tmp_path / "fresh")
    for run_id, rows in rows_by_run(tmp_path / case).items():
        if run_id not in NOT_IN_THE_BYTES:
            assert rows == fresh[run_id]
    assert replay(recording, case, tmp_path, **wanted).complete
    assert rows_by_run(tmp_path / case) == fresh


NOT_IN_THE_BYTES = {"split001", "union001"}
"""A row whose other half was dropped, and bytes that were stored as base64 text."""


def rows_by_run(folder: Path) -> dict[str, list[bytes]]:
    rows: dict[str, list[bytes]] = {}
    for line in (folder / "history.jsonl").read_bytes().splitlines():
        rows.setdefault(json.loads(line)["run_id"], []).append(line)
    return rows


def decoded_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {run_id: list(map(json.loads, rows)) for run_id, rows in rows_by_run(folder).items()}


def test_rows_whose_shape_cannot_be_restored_from_stored_bytes_are_read_again(
    tmp_path: Path,
) -> None:
    shutil.copytree(EXPORTS / "every-kind-history", tmp_path / "kept")
    replay("every-kind", "kept", tmp_path, mode="metadata")
    rows = {
        run_id: list(map(json.loads, rows))
        for run_id, rows in rows_by_run(tmp_path / "kept").items()
    }
    assert rows["split001"][0]["metrics"] == {"a": 0.5}
    assert rows["union001"][1]["metrics"] == {
        "blob": "eyJrIjpbMV19",
        "deep.x": 1,
        "loss": "NaN",
        "mixed": [1, "s"],
    }
    replay("every-kind", "kept", tmp_path, mode="history")
    rows = {
        run_id: list(map(json.loads, rows))
        for run_id, rows in rows_by_run(tmp_path / "kept").items()
    }
    assert rows["split001"][0]["metrics"] == {"a": 0.5, "b": 0}
    assert rows["nested01"][0]["wandb_metadata"] == {"inner.flag": True}
    assert rows["nested01"][0]["extra"] == {"_custom.depth": 0}
    assert rows["nested01"][0]["metrics"]["meet.here (nested)"] == "nested"


class Refusing(RecordedSource):
    """A source that lists runs and refuses their histories."""

    def read_history(self, *_: Any) -> Iterator[Any]:
        raise SourceError("refused", RunFailureKind.SERVER_ERROR, retryable=False)


def test_rows_get_the_present_shape_when_their_history_does_not_read(tmp_path: Path) -> None:
    """Each run keeps what it has, and is tried again, with a position that fits its rows."""
    name = "every-kind-history"
    for case in ("refused", "metadata"):
        shutil.copytree(EXPORTS / name, tmp_path / case)
    source = Refusing(FIXTURES / "recorded" / "every-kind")
    request = ExportRequest(
        entity=source.entity,
        project=source.project,
        name="refused",
        data_root=tmp_path,
        mode=ExportMode.HISTORY,
    )
    assert len(ExportEngine(request, source=source).export().failures) == 8
    replay("every-kind", "metadata", tmp_path, mode="metadata")
    refused, metadata = visible(tmp_path / "refused"), visible(tmp_path / "metadata")
    assert refused["history.jsonl"] == metadata["history.jsonl"]
    assert refused["changes.jsonl"] == metadata["changes.jsonl"]
    assert verify_export(ExportStore(name="refused", data_root=tmp_path)).sound
    assert replay("every-kind", "refused", tmp_path, mode="history").complete
    replay("every-kind", "fresh", tmp_path, mode="history")
    assert rows_by_run(tmp_path / "refused") == rows_by_run(tmp_path / "fresh")


def test_golden_export_goes_on_with_what_came_later(tmp_path: Path) -> None:
    """A run that is gone by then keeps its rewritten rows."""
    shutil.copytree(EXPORTS / "every-kind-history", tmp_path / "kept")
    summary = replay(
        "every-kind-later", "kept", tmp_path, mode="history", sync_mode="detect_changes"
    )
    assert summary.complete, summary.failures
    assert summary.missing_count == 1
    replay("every-kind-later", "fresh", tmp_path, mode="history")
    kept, fresh = rows_by_run(tmp_path / "kept"), rows_by_run(tmp_path / "fresh")
    gone = [json.loads(line)["metrics"] for line in kept.pop("gone0001")]
    assert gone[1] == {"note": "only here", "val.loss": 0.3333333333333333}
    assert kept == fresh
    log = [json.loads(line) for line in visible(tmp_path / "kept")["changes.jsonl"].splitlines()]
    assert log[-1]["missing"] == ["gone0001"]
    assert {field["field"] for run in log[-1]["changed"].values() for field in run["fields"]} <= {
        "state",
    }
