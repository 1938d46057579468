"""What `verify` says of exports that were damaged on purpose, and of what is no damage."""

import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb import DrWandbError
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.cut_list import MOST_LISTED
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.core.contract.records import SCHEMA_VERSION
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import RunTracking, with_part
from dr_wandb.core.inspect.compare import explain_absence, reasons_against
from dr_wandb.core.inspect.doubts import Doubt, DoubtKind
from dr_wandb.core.inspect.holdings import describe_comparison
from dr_wandb.core.inspect.verify import (
    FindingKind,
    Note,
    NoteKind,
    VerifyReport,
    describe_report,
)
from dr_wandb.shell.inspect import checking
from dr_wandb.shell.inspect.verify import compare_with_source, read_and_verify, verify_export
from dr_wandb.shell.store.documents import load_state
from dr_wandb.shell.store.export_store import ExportNotFoundError, ExportStore
from tests.support import syncing
from tests.support.checkout import EXPORT_OF_3_0_3
from tests.support.memory_source import MemorySource
from tests.support.state_files import put_state, whole_state
from tests.support.syncing import NAME, select

Files = dict[str, bytes]


def project() -> MemorySource:
    source = MemorySource()
    for run_id in ("a", "b"):
        source.add_run(run_id)
        for step in range(3):
            source.log(run_id, {"loss": step / 4})
        source.advance(10)
        source.finish(run_id)
    return source


@cache
def whole() -> Files:
    """Return the files of an export of two syncs: three rows in each of two runs."""
    source = project()
    with TemporaryDirectory() as folder:
        syncing.sync(source, Path(folder))
        source.advance(60)
        source.update("a", tags=["best"])
        syncing.sync(source, Path(folder), sync_mode="detect_changes")
        put_state(Path(folder) / NAME, whole_state(Path(folder) / NAME))
        return syncing.visible(Path(folder) / NAME)


@pytest.fixture
def store(tmp_path: Path) -> ExportStore:
    """Return an export that is whole."""
    return put(whole(), tmp_path)


def put(files: Files, data_root: Path) -> ExportStore:
    folder = data_root / NAME
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return ExportStore(name=NAME, data_root=data_root)


def said_of(files: Files, data_root: Path) -> list[str]:
    """Return the findings, one line each, without the summary and what to do."""
    return [finding.describe() for finding in verify_export(put(files, data_root)).findings]


def edited(name: str, edit: Callable[[dict[str, Any]], object]) -> Files:
    document = json.loads(whole()[name])
    edit(document)
    return {**whole(), name: json.dumps(document, indent=2, sort_keys=True).encode()}


def with_lines(name: str, change: Callable[[list[bytes]], object]) -> Files:
    lines = whole()[name].splitlines(keepends=True)
    change(lines)
    return {**whole(), name: b"".join(lines)}


def without(name: str) -> Files:
    return {other: content for other, content in whole().items() if other != name}


def replaced(name: str, old: bytes, new: bytes) -> Files:
    assert old in whole()[name]
    return {**whole(), name: whole()[name].replace(old, new, 1)}


def _swap(lines: list[bytes]) -> None:
    lines[0], lines[1] = lines[1], lines[0]


def history_in(state: Any, run_id: str) -> Any:
    """Return what a state has of the history of a run."""
    return state["runs"][run_id]["parts"]["history"]


DAMAGED: dict[str, tuple[Callable[[], Files], list[str]]] = {
    "a number in a row": (
        lambda: replaced("history.jsonl", b'"loss":0.25', b'"loss":0.35'),
        [
            "history.jsonl: does not have the SHA-256 that is in manifest.json",
            "history.jsonl line 1: run 'a' has other content here than state.json records",
        ],
    ),
    "a row deleted": (
        lambda: with_lines("history.jsonl", lambda lines: lines.pop(4)),
        [
            "history.jsonl: has 5 lines, 688 bytes; manifest.json says 6, 827",
            "history.jsonl line 4: run 'b' has 2 lines here, 3 in state.json",
        ],
    ),
    "a row twice": (
        lambda: with_lines("history.jsonl", lambda lines: lines.insert(1, lines[1])),
        [
            "history.jsonl: has 7 lines, 966 bytes; manifest.json says 6, 827",
            "history.jsonl line 1: run 'a' has 4 lines here, 3 in state.json",
            "history.jsonl line 3: the row of step 1 of run 'a' appears twice",
        ],
    ),
    "two rows in another order": (
        lambda: with_lines("history.jsonl", _swap),
        [
            "history.jsonl: does not have the SHA-256 that is in manifest.json",
            "history.jsonl line 1: run 'a' has other content here than state.json records",
            "history.jsonl line 2: out of order: the row of step 0 of run 'a' belongs before "
            "the row above",
        ],
    ),
    "a line that is no JSON": (
        lambda: with_lines("history.jsonl", lambda lines: lines.insert(2, b"oops\n")),
        [
            "history.jsonl line 3: cannot be read: the line is not valid JSON: Expecting "
            "value: line 1 column 1 (char 0)",
            "history.jsonl: has 7 lines, 832 bytes; manifest.json says 6, 827",
            "history.jsonl line 1: run 'a' has 4 lines here, 3 in state.json",
        ],
    ),
    "the end cut off": (
        lambda: {**whole(), "history.jsonl": whole()["history.jsonl"][:-40]},
        [
            "history.jsonl line 6: the last line is cut short",
            "history.jsonl: has 6 lines, 787 bytes; manifest.json says 6, 827",
            "history.jsonl line 4: run 'b' has other content here than state.json records",
        ],
    ),
    "an empty file": (
        lambda: {**whole(), "history.jsonl": b""},
        [
            "history.jsonl: has 0 lines, 0 bytes; manifest.json says 6, 827",
            "history.jsonl: run 'a' has 0 lines here, 3 in state.json",
            "history.jsonl: run 'b' has 0 lines here, 3 in state.json",
        ],
    ),
    "bytes that are not text": (
        lambda: replaced("runs.jsonl", b"entity", b"\xff\xfentity"),
        [
            "runs.jsonl line 1: cannot be read: the line is not valid JSON: Invalid \\escape: "
            "line 1 column 147 (char 146)",
            "runs.jsonl: has 2 lines, 1541 bytes; manifest.json says 2, 1540",
            "runs.jsonl: run 'b' has 0 lines here, 1 in state.json",
            "history.jsonl line 4: run 'b' of these 3 rows is not in runs.jsonl",
        ],
    ),
    "a run deleted": (
        lambda: with_lines("runs.jsonl", lambda lines: lines.pop(0)),
        [
            "runs.jsonl: has 1 lines, 773 bytes; manifest.json says 2, 1540",
            "runs.jsonl: run 'b' has 0 lines here, 1 in state.json",
            "history.jsonl line 4: run 'b' of these 3 rows is not in runs.jsonl",
        ],
    ),
    "a run of another project": (
        lambda: replaced("runs.jsonl", b'"project":"project"', b'"project":"other"'),
        [
            "runs.jsonl line 1: run 'b' belongs to entity/other",
            "runs.jsonl: has 2 lines, 1538 bytes; manifest.json says 2, 1540",
            "runs.jsonl line 1: run 'b' has other content here than state.json records",
        ],
    ),
    "spaces between": (
        lambda: replaced("history.jsonl", b",", b", "),
        [
            "history.jsonl: has 6 lines, 828 bytes; manifest.json says 6, 827",
            "history.jsonl line 1: run 'a' has other content here than state.json records",
            "history.jsonl line 1: not spelled as docs/format.md says",
        ],
    ),
    "3.0 for 3": (
        lambda: replaced("history.jsonl", b'"loss":0}', b'"loss":0.0}'),
        [
            "history.jsonl: has 6 lines, 829 bytes; manifest.json says 6, 827",
            "history.jsonl line 1: run 'a' has other content here than state.json records",
            "history.jsonl line 1: not spelled as docs/format.md says",
        ],
    ),
    "no history": (
        lambda: without("history.jsonl"),
        [
            "history.jsonl: is missing",
        ],
    ),
    "no manifest": (
        lambda: without("manifest.json"),
        [
            "manifest.json: is missing",
        ],
    ),
    "no state": (
        lambda: without("state.json"),
        [
            "state.json: is missing",
        ],
    ),
    "a manifest cut off": (
        lambda: {**whole(), "manifest.json": whole()["manifest.json"][:100]},
        [
            "manifest.json: cannot be read: Input data was truncated",
        ],
    ),
    "another count in the manifest": (
        lambda: edited("manifest.json", lambda manifest: manifest.update(history_count=7)),
        [
            "manifest.json: history_count is 7, but history.jsonl has 6 lines",
        ],
    ),
    "a manifest of another project": (
        lambda: edited("manifest.json", lambda manifest: manifest.update(project="other")),
        [
            "manifest.json: project is 'other', but 'project' in state.json",
            "runs.jsonl line 1: run 'b' belongs to entity/project",
            "runs.jsonl line 2: run 'a' belongs to entity/project",
        ],
    ),
    "a newer state": (
        lambda: edited("state.json", lambda state: state.update(schema_version=SCHEMA_VERSION + 1)),
        [
            f"state.json: schema_version {SCHEMA_VERSION + 1} is newer than {SCHEMA_VERSION}",
        ],
    ),
    "another position in the state": (
        lambda: edited(
            "state.json", lambda state: history_in(state, "a")["position"].update(rows=4)
        ),
        [
            "state.json: run 'a': the recorded rows is 4, but the stored rows give 3",
        ],
    ),
    "the state of an earlier sync": (
        lambda: edited(
            "state.json", lambda state: state["files"].update({"history.jsonl": "0" * 64})
        ),
        [
            "state.json: its SHA-256 of history.jsonl is not that of the file",
        ],
    ),
    "a log that was cut short": (
        lambda: {**whole(), "changes.jsonl": whole()["changes.jsonl"][:-9]},
        [
            "changes.jsonl: has 2 lines, 200 bytes; manifest.json says 2, 209",
            "changes.jsonl line 2: the last line is cut short",
        ],
    ),
    "a log without one of the syncs": (
        lambda: with_lines("changes.jsonl", lambda lines: lines.pop(0)),
        [
            "changes.jsonl: has 1 lines, 100 bytes; manifest.json says 2, 209",
        ],
    ),
    "two damages": (
        lambda: {
            **replaced("history.jsonl", b'"step":1', b'"step":7'),
            "state.json": b"{",
        },
        [
            "state.json: cannot be read: Input data was truncated",
            "history.jsonl: does not have the SHA-256 that is in manifest.json",
            "history.jsonl line 3: out of order: the row of step 2 of run 'a' belongs before "
            "the row above",
        ],
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_verify_lists_all_that_is_wrong_when_an_export_is_damaged(
    damage: str, tmp_path: Path
) -> None:
    make, expected = DAMAGED[damage]
    assert said_of(make(), tmp_path) == expected
    assert expected


def test_verify_finds_nothing_when_nothing_is_wrong(store: ExportStore) -> None:
    report = verify_export(store)
    assert report.sound
    assert describe_report(report) == (
        "export (entity/project) is sound: 2 runs, 6 rows, "
        f"{sum(map(len, whole().values())) / 1000:.1f} kB in 5 files checked",
    )
    assert json.loads(encode_document(report))["findings"] == []


def test_verify_raises_when_there_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(ExportNotFoundError):
        verify_export(ExportStore(name="none", data_root=tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ExportNotFoundError):
        verify_export(ExportStore(name="file", data_root=tmp_path))


def test_verify_names_a_few_findings_of_a_kind_and_counts_the_others(tmp_path: Path) -> None:
    files = with_lines("history.jsonl", lambda lines: lines.extend([b"oops\n"] * 25))
    report = verify_export(put(files, tmp_path))
    unread = [finding for finding in report.findings if finding.kind == FindingKind.LINE]
    assert [finding.line for finding in unread] == [*range(7, 7 + MOST_LISTED), None]
    assert unread[-1].problem == "and 15 more like these"
    (counted,) = (line for line in describe_report(report, rest="--all") if "15 more" in line)
    assert counted == "history.jsonl: and 15 more like these; --all"
    assert not any("--all" in line for line in describe_report(report))


def test_verify_names_every_finding_when_all_are_wanted(tmp_path: Path) -> None:
    files = with_lines("history.jsonl", lambda lines: lines.extend([b"oops\n"] * 25))
    report = verify_export(put(files, tmp_path), every=True)
    unread = [finding for finding in report.findings if finding.kind == FindingKind.LINE]
    assert [finding.line for finding in unread] == [*range(7, 7 + 25)]


def test_report_says_what_to_do_once_for_each_kind(tmp_path: Path) -> None:
    files = with_lines("history.jsonl", lambda lines: lines.extend([b"oops\n"] * 3))
    lines = describe_report(verify_export(put(files, tmp_path)))
    assert lines[0].startswith("export (entity/project) is not sound: ")
    assert [line for line in lines if line.startswith("  ")] == [
        "  what to do: restore the file, or delete that line and sync again to fetch its run again",
        "  what to do: restore the file from a copy, or sync again to fetch the runs that differ, "
        "if W&B still has them",
    ]


def test_export_of_3_0_3_is_sound_as_far_as_it_can_be_checked() -> None:
    store = ExportStore(name="kept", data_root=EXPORT_OF_3_0_3.parent)
    report = verify_export(store)
    assert (report.sound, report.runs, report.rows) == (True, 5, 39)
    assert report.notes == (Note(kind=NoteKind.OF_3_0_3, text=checking.WRITTEN_BY_3_0_3),)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("history.jsonl", b'"step":4', b'"step":"4"', "history.jsonl line 5: cannot be read: "),
        ("history.jsonl", b'"run_id":"dense001"', b'"run_id":"x"', "history.jsonl line 1: run 'x'"),
        ("manifest.json", b'"run_count":5', b'"run_count":6', "manifest.json: run_count is 6"),
        ("manifest.json", b"old-runs", b"new-runs", "manifest.json: project is 'new-runs'"),
    ],
)
def test_damage_of_an_export_of_3_0_3_is_found(
    name: str, old: bytes, new: bytes, said: str, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in EXPORT_OF_3_0_3.iterdir()}
    files[name] = files[name].replace(old, new, 1)
    assert said in "\n".join(said_of(files, tmp_path))


def test_renamed_folder_is_no_damage(store: ExportStore) -> None:
    renamed = ExportStore(name="renamed", data_root=store.data_root)
    store.export_dir.rename(renamed.export_dir)
    report = verify_export(renamed)
    assert report.sound
    text = "the folder was renamed: it was 'export' when last synced"
    assert report.notes == (Note(kind=NoteKind.RENAMED, text=text),)


def test_interrupted_commit_is_reported_with_what_finishes_it(store: ExportStore) -> None:
    (store.export_dir / ".commit.json").write_text("{}")
    (finding,) = verify_export(store).findings
    assert finding.kind == FindingKind.INTERRUPTED
    assert "next sync finishes" in finding.remedy


def hold(store: ExportStore, pid: int) -> None:
    holder = {"pid": pid, "host": os.uname().nodename, "since": "2026-01-01T00:00:00Z"}
    (store.export_dir / ".lock-holder.json").write_text(json.dumps(holder))


def test_sync_at_work_is_no_damage(store: ExportStore) -> None:
    hold(store, os.getpid())
    report = verify_export(store)
    assert report.sound
    (said,) = report.notes
    assert said.kind == NoteKind.AT_WORK
    assert said.text.startswith(f"a sync is at work: process {os.getpid()} on ")
    (store.export_dir / ".commit.json").write_text("{}")
    (finding,) = verify_export(store).findings
    assert finding.kind == FindingKind.BUSY


def test_lock_of_a_dead_process_is_not_reported_as_a_sync_at_work(store: ExportStore) -> None:
    ended = run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    hold(store, int(ended.stdout))
    assert verify_export(store).notes == ()


def remembered(change: Callable[[Path], object], data_root: Path) -> VerifyReport:
    """Verify an export of which something that is remembered beside `state.json` was changed."""
    syncing.sync(project(), data_root)
    change(data_root / NAME)
    return verify_export(ExportStore(name=NAME, data_root=data_root))


@pytest.mark.parametrize("name", [STORE_FILE, CHANGES_OF_STORE_FILE])
def test_copy_without_hidden_files_is_sound(name: str, tmp_path: Path) -> None:
    """Tools that make archives often leave them out; nothing of the data lies in them."""
    report = remembered(lambda folder: (folder / name).unlink(), tmp_path)
    assert report.findings == ()
    (note,) = report.notes
    text = f"{name} is missing: the next sync reads the histories again"
    assert note == Note(kind=NoteKind.FORGOTTEN, text=text)


REMEMBERED_WRONGLY: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "a byte of the store": (
        STORE_FILE,
        lambda old: old[:-1] + b"x",
        "was changed after it was written",
    ),
    "changes cut short": (CHANGES_OF_STORE_FILE, lambda old: old[:-9], "cannot be read: Input"),
    "changes of another sync": (
        CHANGES_OF_STORE_FILE,
        lambda old: old.replace(b'"tracked":"', b'"tracked":"0'),
        "and state.json are from different syncs",
    ),
    "changes of another project": (
        CHANGES_OF_STORE_FILE,
        lambda old: old.replace(b'"project":"', b'"project":"0'),
        "and state.json are from different syncs",
    ),
    "changes of another store": (
        CHANGES_OF_STORE_FILE,
        lambda old: old.replace(b'"store":"', b'"store":"0'),
        "was changed after it was written",
    ),
}


@pytest.mark.parametrize("damage", REMEMBERED_WRONGLY)
def test_damage_of_what_is_remembered_is_one_finding(damage: str, tmp_path: Path) -> None:
    name, change, problem = REMEMBERED_WRONGLY[damage]

    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        assert change(content) != content
        (folder / name).write_bytes(change(content))

    (finding,) = remembered(spoil, tmp_path).findings
    assert finding.kind == FindingKind.DOCUMENT
    assert finding.file in (STORE_FILE, CHANGES_OF_STORE_FILE)
    assert problem in finding.problem


class Meddler:
    """Does something to an export when each check of it has read the state."""

    def __init__(self, meddle: Callable[[], object], times: int) -> None:
        self.meddle, self.times = meddle, times
        self.load = load_state

    def __call__(self, path: Path) -> Any:
        document = self.load(path)
        if self.times:
            self.times -= 1
            self.meddle()
        return document


def sync_between(store: ExportStore, times: int, monkeypatch: pytest.MonkeyPatch) -> VerifyReport:
    """Verify while so many syncs are done, each after manifest and state were read."""
    source = project()

    def grow() -> None:
        source.log("a", {"loss": 9.0})
        syncing.sync(source, store.data_root)

    monkeypatch.setattr(checking, "load_state", Meddler(grow, times))
    return verify_export(store)


def test_export_that_a_sync_changes_meanwhile_is_read_again(
    store: ExportStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user would have restored a backup over an export that was just brought up to date."""
    report = sync_between(store, 1, monkeypatch)
    assert report.findings == ()
    assert report.rows == 7


def test_export_that_keeps_changing_is_said_to_be_busy_and_not_damaged(
    store: ExportStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = sync_between(store, 2, monkeypatch).findings
    assert finding.kind == FindingKind.BUSY


def test_times_that_go_back_are_a_note_when_they_were_written_so(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    source.log("a", {"loss": 1.0})
    source.advance(-3600)
    syncing.sync(source, tmp_path)
    report = verify_export(ExportStore(name=NAME, data_root=tmp_path))
    assert report.sound
    (note,) = report.notes
    assert note.kind == NoteKind.CLOCKS
    assert note.text.startswith("changes.jsonl line 2 is earlier than the line before it:")


def test_document_that_something_else_spelled_is_a_note(store: ExportStore) -> None:
    path = store.manifest_path
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    report = verify_export(store)
    respelled = "manifest.json was reformatted by another program"
    assert Note(kind=NoteKind.RESPELLED, text=respelled) in report.notes


@pytest.mark.parametrize("name", sorted(whole()))
def test_folder_or_dangling_link_for_a_file_is_found(name: str, tmp_path: Path) -> None:
    store = put(without(name), tmp_path)
    (store.export_dir / name).mkdir()
    assert name in {finding.file for finding in verify_export(store).findings}
    (store.export_dir / name).rmdir()
    (store.export_dir / name).symlink_to(tmp_path / "nowhere")
    assert name in {finding.file for finding in verify_export(store).findings}


def test_verify_needs_neither_wandb_nor_pyarrow(store: ExportStore) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from dr_wandb.shell.store.export_store import ExportStore\n"
        "from dr_wandb.shell.inspect.verify import verify_export\n"
        f"assert verify_export(ExportStore(name={NAME!r}, data_root=Path(sys.argv[1]))).sound\n"
        "assert not {'wandb', 'pyarrow'} & sys.modules.keys()\n"
    )
    run([sys.executable, "-c", code, str(store.data_root)], check=True, timeout=60)


# --- against the server


def compared(source: MemorySource, data_root: Path) -> dict[str, str]:
    """Return what a comparison says of each run of the export: "" where it is fully exported."""
    store = ExportStore(name=NAME, data_root=data_root)
    comparison = compare_with_source(store, source, wait=syncing.do_not_wait)
    assert encode_document(comparison)
    assert describe_comparison(comparison)
    parts = (
        comparison.fully_exported,
        comparison.not_fully_exported,
        comparison.gone_upstream,
    )
    return {
        run.run_id: "; ".join(doubt.reason for doubt in run.reasons)
        for part in parts
        for run in part
    }


def _make_anew(source: MemorySource) -> None:
    source.delete("a")
    source.advance(1)
    source.add_run("a")


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (lambda source: None, ""),
        (lambda source: source.update("a", tags=["edited"]), "its snapshot is out of date"),
        (lambda source: source.resume("a"), "still running"),
        (lambda source: source.log("a", {"loss": 1.0}), "1 row behind"),
        (lambda source: source.rewind("a", 1), "W&B lists 2 lines, but 3 were read"),
        (lambda source: source.delete("a"), "gone upstream after the last sync"),
        (_make_anew, "made again upstream"),
        (lambda source: source.update("a", null_history_keys=True), "W&B lists step None"),
        (
            lambda source: source.update("a", summary={"_timestamp": 5}),
            "W&B lists a last row at 5, the export has 1767225600.003",
        ),
        (lambda source: source.update("a", config_json="{"), "its listing cannot be read: "),
        (lambda source: source.fail_listing(0), ""),
    ],
)
def test_comparison_says_why_a_run_is_not_fully_exported(
    then: Callable[[MemorySource], object], reason: str, tmp_path: Path
) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    then(source)
    said = compared(source, tmp_path)
    assert reason in said["a"]
    assert bool(said["a"]) == bool(reason)
    assert said["b"] == ""


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mode": "metadata"}, "metadata only"),
        ({"history_selection": select("loss")}, "read under a selection: keys loss"),
        ({"history_selection": select(max_records=9)}, "read under a selection: max records 9"),
    ],
)
def test_comparison_says_what_was_asked_for_when_that_is_not_everything(
    fields: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    source = project()
    syncing.sync(source, tmp_path, **fields)
    assert compared(source, tmp_path) == {"a": reason, "b": reason}


def test_comparison_says_when_a_run_is_short_or_has_failed(tmp_path: Path) -> None:
    source = project()
    source.update("a", line_count_offset=2)
    for reason in ("2 rows short", "2 rows short", "2 rows short, accepted as such"):
        syncing.sync(source, tmp_path)
        assert compared(source, tmp_path)["a"] == reason
    source.poisoned.add("a")
    source.log("a", {"loss": 1})
    syncing.sync(source, tmp_path)
    assert "failed last time: " in compared(source, tmp_path)["a"]


def test_comparison_names_the_runs_that_are_not_in_the_export(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path, scope=RunScope(states=("finished",)))
    source.add_run("c", display_name="third")
    source.add_run("d", state="finished")
    store = ExportStore(name=NAME, data_root=tmp_path)
    comparison = compare_with_source(store, source, wait=syncing.do_not_wait)
    assert [(run.run_id, run.kind, run.reason) for run in comparison.not_exported] == [
        ("c", "out_of_scope", "outside of the scope of this export"),
        ("d", "new", "not exported yet"),
    ]
    assert not comparison.level
    assert "  'c' (third): outside of the scope of this export" in describe_comparison(comparison)


def test_comparison_reports_beside_the_runs_what_no_export_holds(tmp_path: Path) -> None:
    """Somebody who deletes the runs that are listed would else lose files, media and artifacts."""
    source = project()
    syncing.sync(source, tmp_path)
    store = ExportStore(name=NAME, data_root=tmp_path)
    comparison = compare_with_source(store, source, wait=syncing.do_not_wait)
    lines = describe_comparison(comparison)
    assert "2 fully exported, 0 not fully, 0 not exported, 0 gone upstream" in lines[0]
    assert lines[1:5] == (
        "history fully exported: 2 runs",
        "  'a': 3 rows",
        "  'b': 3 rows",
        "  not exported, and lost if these runs are deleted:",
    )
    for what in ("files of runs", "artifacts", "console output", "system metrics"):
        assert any(line.startswith(f"  - {what}") for line in lines)


def test_comparison_writes_nothing_and_finds_no_run_exported_when_a_row_is_gone(
    tmp_path: Path,
) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    path = tmp_path / NAME / "history.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    before = syncing.visible(tmp_path / NAME), syncing.hidden(tmp_path / NAME)
    said = compared(source, tmp_path)
    assert set(said.values()) == {"the export is not sound: 2 findings"}
    assert (syncing.visible(tmp_path / NAME), syncing.hidden(tmp_path / NAME)) == before


def test_comparison_of_an_export_of_3_0_3_finds_nothing_fully_exported(tmp_path: Path) -> None:
    put({path.name: path.read_bytes() for path in EXPORT_OF_3_0_3.iterdir()}, tmp_path)
    source = MemorySource(entity="old-lab", project="old-runs")
    source.add_run("dense001", state="finished")
    said = compared(source, tmp_path)
    assert said["dense001"] == "history never read by this version: sync first"
    assert said["gone0001"] == "gone upstream after the last sync"


def test_incomplete_listing_never_says_that_a_run_is_gone(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    source.counts = False
    source.delete("a")
    said = compared(source, tmp_path)
    assert said == {"a": "not listed, but the listing of W&B is not complete", "b": ""}


def test_comparison_raises_when_nothing_says_which_project_it_is(tmp_path: Path) -> None:
    store = put({"history.jsonl": b"", "manifest.json": b"{"}, tmp_path)
    with pytest.raises(DrWandbError):
        compare_with_source(store, project(), wait=syncing.do_not_wait)


@pytest.mark.parametrize(
    ("changes", "reason", "kind"),
    [
        ({}, None, None),
        (
            {"created_at": "2025-01-01T00:00:00Z"},
            "made again upstream: the stored data",
            "another_run",
        ),
        ({"storage_id": "other"}, None, None),
        ({"storage_id": "UnVuOnYxOmE6cmVuYW1lZDplbnRpdHk="}, None, None),
        ({"storage_id": None}, None, None),
        ({"created_at": None}, "its time of creation is not known", "creation_unknown"),
        ({"state": "running"}, "still running", "alive"),
        ({"state": None}, "W&B does not list its state", "alive"),
        ({"fingerprint": "other"}, "its snapshot is out of date", "snapshot_outdated"),
        ({"fingerprint": ""}, "its snapshot is out of date", "snapshot_outdated"),
        ({"history_line_count": None}, "line count not known", "uncounted"),
        ({"history_line_count": 5}, "2 rows behind", "behind"),
        ({"history_line_count": 2}, "W&B lists 2 lines, but 3 were read", "shrank"),
        ({"last_step": 1}, "W&B lists step 1 as the last, the export has 2", "last_step"),
        (
            {"last_step": None},
            "W&B lists step None as the last, the export has 2",
            "last_step",
        ),
        (
            {"last_logged_at": None},
            "the time of the last row is not known",
            "last_time_unknown",
        ),
        ({"last_logged_at": "1767225600.0030004"}, None, None),
        (
            {"last_logged_at": "1767225600.004"},
            "W&B lists a last row at 1767225600.004",
            "last_time",
        ),
        ({"heartbeat_at": "2030-01-01T00:00:00Z"}, None, None),
    ],
)
def test_one_thing_that_is_listed_otherwise_is_reason_enough(
    changes: dict[str, Any], reason: str | None, kind: str | None, store: ExportStore
) -> None:
    """Of a run whose last row alone is another one, the row would else have been deleted."""
    checked = read_and_verify(store)
    assert checked.state is not None
    listing = checked.state.runs["a"].seen
    assert listing is not None
    reasons = list(reasons_against(checked, replace(listing, **changes)))
    assert [doubt.kind for doubt in reasons] == ([kind] if kind is not None else [])
    assert all(doubt.reason.startswith(reason or "") for doubt in reasons)


NO_ANSWER = RunFailure(kind=RunFailureKind.TIMEOUT, reason="no answer")


@pytest.mark.parametrize(
    ("changes", "position", "reason", "kind"),
    [
        ({"failure": NO_ANSWER}, {}, "failed last time: no answer", "failed"),
        ({"unread": NO_ANSWER}, {}, "a part of it could not be read: no answer", "unread"),
        (
            {"metadata_failure": NO_ANSWER},
            {},
            "its metadata file did not come: no answer",
            "metadata_failed",
        ),
        (
            {"row_shape": 1},
            {},
            "stored in an earlier shape: sync to read its history again",
            "earlier_shape",
        ),
        (
            {"evidence": Evidence(standing=Standing.WAITING, missing_rows=2)},
            {},
            "2 rows did not come again; kept until a second read shows that they are gone",
            "waiting",
        ),
        (
            {"evidence": Evidence(standing=Standing.FAILED)},
            {},
            "the rows that were listed last could not be read",
            "last_read_failed",
        ),
        (
            {"evidence": Evidence(standing=Standing.SHORT, missing_rows=1)},
            {},
            "1 exported row did not come again",
            "short",
        ),
        (
            {"seen": None},
            {},
            "history never read by this version: sync first",
            "never_synced",
        ),
        ({"position": None}, None, "history never read", "never_read"),
        ({"stored": None}, {}, "3 rows stored of 3 received", "rows_missing"),
        ({}, {"short_by": 1}, "1 row short, accepted as such", "accepted"),
        ({}, {"rows": 2}, "1 row behind", "behind"),
        ({}, {"whole": False}, "only a part of its steps was read", "not_whole"),
        ({}, {"rows": 4, "short_by": -1}, "3 rows stored of 4 received", "rows_missing"),
        (
            {},
            {"selection": select("loss")},
            "read under a selection: keys loss",
            "selection",
        ),
    ],
)
def test_one_thing_that_is_tracked_otherwise_is_reason_enough(
    changes: dict[str, Any],
    position: dict[str, Any] | None,
    reason: str,
    kind: str,
    store: ExportStore,
) -> None:
    checked = read_and_verify(store)
    assert checked.state is not None
    tracking = checked.state.runs["a"]
    assert tracking.seen is not None
    part = tracking.part(HISTORY)
    assert part.position is not None
    listing = tracking.seen
    of_part = {name: changes[name] for name in changes if name in part.__struct_fields__}
    of_run = {name: changes[name] for name in changes if name not in of_part}
    if position is not None:
        part = replace(part, position=replace(part.position, **position))
    part = replace(part, **of_part)
    changed = replace(with_part(tracking, HISTORY, part), **of_run)
    state = replace(checked.state, runs={"a": changed})
    assert Doubt(kind=DoubtKind(kind), reason=reason) in list(
        reasons_against(replace(checked, state=state), listing)
    )


@pytest.mark.parametrize(
    ("scope", "failure", "kind"),
    [
        (None, None, "new"),
        (RunScope(tags=("other",)), None, "out_of_scope"),
        (RunScope(filters={"state": "finished"}), None, "new_or_filtered"),
        (RunScope(tags=("other",)), NO_ANSWER, "failed"),
    ],
)
def test_run_that_is_not_in_the_export_has_the_kind_of_its_reason(
    scope: RunScope | None, failure: RunFailure | None, kind: str, store: ExportStore
) -> None:
    (run, *_) = (snapshot.run for snapshot in store.load_run_snapshots())
    tracking = RunTracking(run_id=run.run_id, failure=failure)
    unheld = explain_absence(run, scope, tracking)
    assert (unheld.kind, unheld.failure) == (kind, failure)
    assert unheld.reason
