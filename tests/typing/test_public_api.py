"""What users of the library write runs, and gives what it is said to give."""

from pathlib import Path

from dr_wandb import DamagedFile, ExportMode, InvalidRequest, NoExport
from tests.support.checkout import RECORDING
from tests.typing import public_api


def test_public_api_does_what_its_types_say(tmp_path: Path) -> None:
    summary = public_api.sync(tmp_path, RECORDING)
    runs, rows = public_api.load(tmp_path)
    assert summary.run_count == len(runs) > 0
    assert summary.history_count == len(list(rows)) > 0
    [status] = public_api.look(tmp_path)
    assert status.runs == summary.run_count
    comparison = public_api.prove(tmp_path, RECORDING)
    assert comparison.report.sound
    assert comparison.fully_exported
    assert len(public_api.changes(tmp_path).new) == summary.run_count
    assert public_api.artifacts(tmp_path) == []


def test_public_api_plans_and_scans_without_an_export(tmp_path: Path) -> None:
    assert len(public_api.plan_with_a_listing_of_my_own(tmp_path).runs) == 2
    assert public_api.scan(tmp_path).runs == ()
    assert public_api.selection().keys == ("loss",)
    assert public_api.request_in_words(tmp_path).mode is ExportMode.HISTORY


def test_public_api_names_what_went_wrong(tmp_path: Path) -> None:
    kinds = [type(failure) for failure in public_api.mistakes(tmp_path)]
    assert kinds == [InvalidRequest, NoExport, InvalidRequest, DamagedFile]
