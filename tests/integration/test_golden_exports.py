"""Continue the exports of commit 567aa1b, which are never made again: users have such exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fixtures.make_golden_exports import SOME_KEYS, SOME_STEPS

from dr_wandb import ExportEngine, ExportRequest, ExportSummary, iter_history_rows, load_manifest
from dr_wandb.shell.sources.opening import opener
from tests.syncing import visible

FIXTURES = Path(__file__).parents[2] / "fixtures"
EXPORTS = FIXTURES / "exports" / "567aa1b"

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
    return ExportEngine(request, source=opener(f"replay:{folder}")).export()


@pytest.mark.parametrize("case", CASES)
def test_golden_export_loads(case: str) -> None:
    manifest = load_manifest(case, EXPORTS)
    assert manifest is not None
    assert len(list(iter_history_rows(case, EXPORTS))) == (manifest.history_count or 0)


@pytest.mark.parametrize("case", CASES)
def test_golden_export_is_continued(case: str, tmp_path: Path) -> None:
    recording, wanted = CASES[case]
    shutil.copytree(EXPORTS / case, tmp_path / case)
    summary = replay(recording, case, tmp_path, **wanted)
    assert summary.complete, summary.failures
    fresh = replay(recording, "fresh", tmp_path, **wanted)
    assert summary.history_count == fresh.history_count
    continued = visible(tmp_path / case)
    for name in ("runs.jsonl", "history.jsonl"):
        assert continued.get(name) == visible(tmp_path / "fresh").get(name)
