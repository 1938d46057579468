"""What is decided of one file of a run, by example."""

from typing import Any

import pytest

from dr_wandb.core.contract.dataset import FILES, counts_in
from dr_wandb.core.contract.file_choice import EVERY_FILE, NO_FILE, FileChoice
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.row_forms import (
    Weight,
    decode_run_file,
    decode_run_files,
    form_of,
)
from dr_wandb.core.contract.run_files import (
    Absence,
    Decision,
    Treatment,
    decide,
    is_left_out,
    is_wanting,
    run_file,
    same_bytes,
    with_bytes,
    without_bytes,
)

AT, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
SHA = "a" * 64


def file(**fields: Any) -> RunFile:
    known = {"run_id": "r", "path": "a.txt", "size": 3, "md5": "one", "updated_at": AT}
    return RunFile(**{**known, **fields})


def test_node_of_w_and_b_becomes_a_row() -> None:
    node = {
        "name": "a\ud800.txt",
        "sizeBytes": "12",
        "md5": "",
        "mimetype": "",
        "updatedAt": "2026-01-01T00:00:00",
        "directUrl": "https://secret",
    }
    assert run_file(node, "r") == RunFile(run_id="r", path="a\\ud800.txt", size=12, updated_at=AT)
    assert run_file({}, "r") == RunFile(run_id="r", path="")


@pytest.mark.parametrize(
    ("said", "size"),
    [(5, 5), ("7", 7), (None, None), (-1, None), (2**63, None), ("x", None), (True, None)],
)
def test_size_of_any_kind_is_read(said: Any, size: int | None) -> None:
    assert run_file({"name": "a", "sizeBytes": said}, "r").size == size


@pytest.mark.parametrize(
    ("path", "size", "left_out"),
    [
        ("artifact/17/wandb_manifest.json", 0, True),
        ("artifact/17/wandb_manifest.json", None, True),
        ("artifact/17/wandb_manifest.json", 5, False),
        ("artifact/17/other.json", 0, False),
        ("artifact/1/2/wandb_manifest.json", 0, False),
    ],
)
def test_empty_manifest_of_w_and_b_is_no_file(path: str, size: int, left_out: bool) -> None:
    assert is_left_out(file(path=path, size=size)) is left_out


@pytest.mark.parametrize(
    ("listed", "held", "same"),
    [
        (file(), file(), True),
        (file(size=9), file(), True),
        (file(md5="two"), file(), False),
        (file(md5="one"), file(md5=None), False),
        (file(md5=None), file(md5=None), True),
        (file(md5=None), file(), True),
        (file(md5=None, updated_at=LATER), file(md5=None), False),
        (file(md5=None, size=4), file(md5=None), False),
        (file(md5=None, size=None), file(md5=None, size=None), False),
        (file(md5=None, updated_at=None), file(md5=None, updated_at=None), False),
    ],
)
def test_bytes_are_the_same_only_if_the_listing_shows_it(
    listed: RunFile, held: RunFile, same: bool
) -> None:
    assert same_bytes(listed, held) is same


@pytest.mark.parametrize(
    ("held", "choice", "decision"),
    [
        (None, EVERY_FILE, Decision(Treatment.FETCH)),
        (None, NO_FILE, Decision(Treatment.LEAVE, Absence.NOT_ASKED_FOR)),
        (None, FileChoice(max_bytes=2), Decision(Treatment.LEAVE, Absence.TOO_LARGE)),
        (file(sha256=SHA), NO_FILE, Decision(Treatment.HELD)),
        (file(sha256=SHA, md5="old"), EVERY_FILE, Decision(Treatment.FETCH)),
        (file(absent="gone"), EVERY_FILE, Decision(Treatment.FETCH)),
    ],
)
def test_decision(held: RunFile | None, choice: FileChoice, decision: Decision) -> None:
    assert decide(file(), held, choice) == decision


def test_held_bytes_stay_until_newer_ones_come() -> None:
    held, now = file(sha256=SHA, md5="old"), file(md5="new", size=5)
    assert without_bytes(now, held, Absence.GONE) == file(sha256=SHA, md5="old", newer="gone")
    assert without_bytes(now, None, Absence.GONE) == file(md5="new", size=5, absent="gone")
    assert without_bytes(now, file(absent="failed"), Absence.MISMATCH).absent == "mismatch"
    assert with_bytes(file(absent="gone"), SHA, 3) == file(sha256=SHA)


@pytest.mark.parametrize(
    ("fields", "wanting"),
    [
        ({"absent": "gone"}, True),
        ({"absent": "mismatch"}, True),
        ({"absent": "failed"}, True),
        ({"sha256": SHA, "newer": "failed"}, True),
        ({"absent": "too large"}, False),
        ({"absent": "not asked for"}, False),
        ({"absent": "link outside"}, False),
        ({"sha256": SHA}, False),
    ],
)
def test_bytes_that_did_not_come_are_tried_again(fields: dict[str, Any], wanting: bool) -> None:
    row = file(**fields)
    assert is_wanting(row) is wanting
    weigh = form_of(FILES).weigh
    assert weigh is not None
    line = form_of(FILES).encode([{"name": "a.txt", **fields}], "r").lines
    assert weigh(line) == Weight(wanting=wanting)
    manifest = [{"name": "artifact/1/wandb_manifest.json", "sizeBytes": 0}]
    assert not weigh(form_of(FILES).encode(manifest, "r").lines).stored


def test_lines_of_other_tools_are_read_as_ours() -> None:
    form = form_of(FILES)
    ours = form.encode([{"name": "a", "sizeBytes": 3, "updatedAt": "2026-01-01"}], "r").lines
    other = b'{"path": "a", "run_id": "r", "size": 3, "md5": "", "updated_at": "2026-01-01"}'
    assert form.canonical(other, 2).unwrap() == decode_run_file(ours).unwrap()
    assert "nested" not in form.canonical(b"{}", 2).failure()
    assert decode_run_files([ours, ours]) is not None
    assert decode_run_files([ours, b"{"]) is None


@pytest.mark.parametrize(
    ("raw_run", "count", "version"),
    [
        ({"fileCount": 3, "state": "finished", "movedAt": AT}, 3, f"finished {AT}"),
        ({"fileCount": 3, "state": "finished", "heartbeatAt": LATER}, 3, f"finished {LATER}"),
        ({"state": "finished"}, None, "finished None"),
        ({"fileCount": -1, "contentMark": "digest"}, None, "digest"),
    ],
)
def test_listing_says_how_many_files_there_are_and_whether_they_moved(
    raw_run: dict[str, Any], count: int | None, version: str
) -> None:
    counts = counts_in(raw_run, (FILES,))[FILES]
    assert (counts.line_count, counts.version) == (count, version)
