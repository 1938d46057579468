"""A power cut at any moment of a commit leaves the old files or, once it is finished, the new ones.

In the model of `tests/support/power_cut.py` nothing lasts unless it was fsynced, in any order.
"""

from pathlib import Path

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.shell.store.commit import STAGING_FOLDER, commit, roll_forward, stage_document
from tests.support import syncing
from tests.support.power_cut import power_cuts, write_tree

PACKS = [f"{PARQUET_HISTORY}/2026-01-{digit}.parquet" for digit in "0123"]
LINES = ["history.jsonl", "runs.jsonl", "manifest.json", "state.json"]
OLD = dict.fromkeys([*PACKS[:3], "parquet/runs.parquet", *LINES], b"old")
STAYS, GOES = PACKS[1], PACKS[2]

STARTS: dict[str, dict[str, bytes]] = {
    "nothing": {},
    "lines": {name: content for name, content in OLD.items() if name in LINES},
    "lines and Parquet": OLD,
}
NEW = {
    "lines": dict.fromkeys(LINES, b"new"),
    "one pack": dict.fromkeys([PACKS[0], "parquet/runs.parquet", *LINES], b"new"),
    "several packs": dict.fromkeys([PACKS[0], PACKS[3], "parquet/runs.parquet", *LINES], b"new"),
    "Parquet instead of lines": dict.fromkeys([PACKS[0], "runs.jsonl", *LINES[2:]], b"new"),
}


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("coming", NEW)
def test_power_cut_during_a_commit_costs_nothing(start: str, coming: str, tmp_path: Path) -> None:
    """Files were gone, or the commit could not be finished, if names last in another order."""
    before, new = STARTS[start], NEW[coming]
    going = {"several packs": GOES, "Parquet instead of lines": "history.jsonl"}
    gone = [name for name in before if name == going.get(coming)]
    after = {name: content for name, content in (before | new).items() if name not in gone}
    root = tmp_path / "root"
    root.mkdir()
    put(root / "export", before)
    with power_cuts(root, 12) as cuts:
        (root / "export" / STAGING_FOLDER).mkdir()
        staged = {
            name: replace(stage_document(root / "export", Path(name).name, content), name=name)
            for name, content in new.items()
        }
        commit(root / "export", staged, gone)
    assert syncing.visible(root / "export") == after
    for number, (moment, tree) in enumerate(cuts.found.values()):
        write_tree(tree, tmp_path / str(number))
        folder = tmp_path / str(number) / "export"
        left = syncing.visible(folder)
        if left.get("manifest.json") == b"new":
            data = set(new) - {"state.json"}
            assert {name: left.get(name) for name in data} == dict.fromkeys(data, b"new"), moment
        if left.get("manifest.json") == b"old" and "history.jsonl" in gone:
            assert "history.jsonl" in left, moment
        roll_forward(folder)
        assert syncing.visible(folder) in (before, after), moment
