"""Whenever the power fails, the export loads, nothing of it is damaged, and the next sync heals it.

At every operation on files: the disk with only what was fsynced by then, with all names and none of
the bytes, or half of them, and with some of the changes at random. See `support/power_cut.py`.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dr_wandb.core.contract.export_files import BLOBS_FOLDER
from dr_wandb.core.inspect.verify import FindingKind
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.commit import RECORD_FILE
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.lock import HOLDER_FILE
from dr_wandb.shell.store.staging import finish_interrupted
from tests.support import syncing
from tests.support.power_cut import power_cuts, write_tree
from tests.support.scenarios import OF_EVERYTHING, SCENARIOS, assert_loads, undisturbed
from tests.support.syncing import NAME

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "ci"
RANDOMLY = 2 if THOROUGH else 1

ALL = SCENARIOS | OF_EVERYTHING
BY_DEFAULT = {
    "first export with files": 2,
    "changed files": 2,
    "files pruned": 3,
    "growth of everything": 12,
}
"""What is tried by default, and the step from one disk to the next."""
STEPS = dict.fromkeys(ALL, 1) if THOROUGH else BY_DEFAULT


def is_export(data_root: Path) -> bool:
    return (data_root / NAME / "manifest.json").exists()


def assert_undamaged(data_root: Path) -> None:
    """Nothing is wrong with what the manifest names, once a commit is finished that was decided."""
    folder = data_root / NAME
    if (folder / RECORD_FILE).exists():
        kinds = {
            one.kind for one in verify_export(ExportStore(name=NAME, data_root=data_root)).findings
        }
        assert FindingKind.INTERRUPTED in kinds
        finish_interrupted(folder)
    report = verify_export(ExportStore(name=NAME, data_root=data_root))
    assert report.findings == ()


@pytest.mark.parametrize("name", STEPS)
def test_power_cut_at_any_operation_costs_nothing(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    scenario = ALL[name]
    expected = undisturbed(scenario, tmp_path / "expected")
    (tmp_path / "begun").mkdir()
    source = scenario.begin(tmp_path / "begun")
    shown, began = syncing.twin(source), is_export(tmp_path / "begun")
    with power_cuts(tmp_path / "begun", RANDOMLY) as cuts:
        scenario.sync(source, tmp_path / "begun")
    with syncing.without_fsync():
        tried = [*cuts.found.values()][:: STEPS[name]]
        for number, (moment, tree) in enumerate(tried):
            image = tmp_path / f"{number:04}"
            write_tree(tree, image)
            (image / NAME / HOLDER_FILE).unlink(missing_ok=True)  # that process has not survived
            try:
                assert_loads(image)
                if is_export(image):
                    assert_undamaged(image)
                else:
                    assert not began
                scenario.sync(syncing.twin(shown), image)
                assert syncing.visible(image / NAME) == expected
            except BaseException as error:
                error.add_note(f"{moment} ({image.name})")
                raise
            shutil.rmtree(image)
    record_property("power_cuts", len(tried))


@pytest.mark.parametrize("name", ALL)
def test_everything_lasts_when_a_sync_has_ended(name: str, tmp_path: Path) -> None:
    scenario = ALL[name]
    expected = undisturbed(scenario, tmp_path / "expected")
    (tmp_path / "begun").mkdir()
    source = scenario.begin(tmp_path / "begun")
    with power_cuts(tmp_path / "begun", 0) as cuts:
        scenario.sync(source, tmp_path / "begun")
    write_tree(cuts.disk.surely(), tmp_path / "left")
    left = syncing.visible(tmp_path / "left" / NAME)
    pruned = {path for path in left.keys() - expected.keys() if path.startswith(BLOBS_FOLDER)}
    assert {path: left[path] for path in left.keys() - pruned} == expected
    assert not pruned or "prune" in ALL[name].request
