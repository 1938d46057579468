"""The files of runs, from W&B, as an export holds them."""

from __future__ import annotations

import base64
import hashlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.file_names import name_spelled
from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.inspect.verify import describe_report
from dr_wandb.core.sync.describe import describe_plan
from dr_wandb.core.sync.plan import PlannedFiles
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.loading import iter_files, open_blob
from dr_wandb.shell.store.named_blobs import remove_unnamed
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.offline_logging import Machine
from tests.support.server import Drop, Redirect, Replace, StandInServer, Status, Truncate
from tests.support.syncing import json_lines

if TYPE_CHECKING:
    from pathlib import Path

    from dr_wandb.core.inspect.verify import VerifyReport
    from dr_wandb.core.sync.summary import ExportSummary
    from tests.support.api_exports import Exports


def sync(exports: Exports, name: str = "n", **fields: Any) -> ExportSummary:
    return exports.sync(name, **{"extra_datasets": ("files",)} | fields)


def held(exports: Exports, name: str = "n") -> dict[str, dict[str, Any]]:
    rows = json_lines(exports.folder(name) / "files.jsonl")
    assert rows == sorted(rows, key=lambda row: (row["run_id"], row["path"]))
    return {row["path"]: row for row in rows}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def blobs(exports: Exports, name: str = "n") -> dict[str, bytes]:
    below = exports.folder(name) / "blobs" / "sha256"
    found = {one.parent.name + one.name: one.read_bytes() for one in below.glob("*/*")}
    assert all(sha256(content) == digest for digest, content in found.items())
    return found


def asked(exports: Exports) -> dict[str, int]:
    return dict(exports.asked)


def test_files_are_listed_and_their_bytes_are_held_once(exports: Exports) -> None:
    for run_id in ("a", "b"):
        run = exports.project.add_run(run_id)
        run.put_file("requirements.txt", b"wandb\n")
        run.put_file("code/train.py", f"# {run_id}\n".encode())
        run.files["artifact/17/wandb_manifest.json"] = b""
        run.finish()
    summary = sync(exports)
    assert summary.complete
    rows = json_lines(exports.folder() / "files.jsonl")
    assert [(row["run_id"], row["path"]) for row in rows] == [
        ("a", "code/train.py"),
        ("a", "requirements.txt"),
        ("b", "code/train.py"),
        ("b", "requirements.txt"),
    ]
    assert rows[1] == {
        "absent": None,
        "md5": md5(b"wandb\n"),
        "mimetype": "text/plain",
        "newer": None,
        "path": "requirements.txt",
        "run_id": "a",
        "sha256": sha256(b"wandb\n"),
        "size": 6,
        "updated_at": "2026-01-01T00:00:00Z",
    }
    contents = (b"wandb\n", b"# a\n", b"# b\n")
    assert blobs(exports) == {sha256(one): one for one in contents}
    before = {path: path.read_bytes() for path in exports.folder().rglob("*") if path.is_file()}
    sync(exports)
    assert asked(exports) == {}
    names = [path.name for path in before if path.name.endswith(".jsonl")]
    assert {"files.jsonl", "runs.jsonl"} <= {*names}


def test_names_that_look_alike_are_files_of_their_own(exports: Exports) -> None:
    """One of the two had no row and no bytes, and the run stayed short of it."""
    run = exports.project.add_run("a")
    files = {"x\ud800": b"no UTF-8", "x\\ud800": b"looks like it"}
    for name, content in files.items():
        run.put_file(name, content)
    run.finish()
    assert sync(exports).complete
    found = {name_spelled(name): row["sha256"] for name, row in held(exports).items()}
    assert found == {name: sha256(content) for name, content in files.items()}
    assert sync(exports, sync_mode="full_reconcile").complete
    assert len(held(exports)) == 2


def test_same_bytes_are_downloaded_once_over_all_runs_and_syncs(exports: Exports) -> None:
    content = b"0123456789" * 2000
    for run_id in ("a", "b", "c"):
        run = exports.project.add_run(run_id)
        run.put_file("checkpoint.bin", content)
        run.finish()
    assert sync(exports).complete
    assert asked(exports)["download"] == 1
    run = exports.project.add_run("d")
    run.put_file("checkpoint.bin", content)
    run.finish()
    assert sync(exports).complete
    assert "download" not in asked(exports)
    assert blobs(exports) == {sha256(content): content}
    rows = json_lines(exports.folder() / "files.jsonl")
    assert [row["sha256"] for row in rows] == [sha256(content)] * 4


def test_all_pages_are_listed_and_a_null_loses_nothing_else(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for number in range(120):
        run.put_file(f"media/{number:03}.txt", b"%d" % number)
    run.null_files = {"media/010.txt"}
    run.finish()
    exports.server.max_files_per_page = 50
    summary = sync(exports)
    exports.server.max_files_per_page = 1000
    assert not summary.complete
    assert [(one.run_id, one.short_by) for one in summary.short] == [("run", 1)]
    assert len(held(exports)) == 119
    run.null_files = set()
    assert sync(exports).complete
    assert len(held(exports)) == len(blobs(exports)) == 120


def test_file_that_is_gone_upstream_goes_after_a_second_look(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    run.put_file("b.txt", b"b")
    run.finish()
    sync(exports)
    del run.files["a.txt"]
    summary = sync(exports)
    assert [one.kind for one in summary.waiting] == ["shrunk"]
    assert [*held(exports)] == ["a.txt", "b.txt"]
    exports.server.clock.advance(11 * 60)
    assert sync(exports).complete
    assert [*held(exports)] == ["b.txt"]


def test_changed_file_is_held_at_once_though_another_one_is_gone(exports: Exports) -> None:
    """The new bytes would else wait for the second look at the file that is gone."""
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    run.put_file("b.txt", b"old")
    sync(exports)
    exports.server.clock.advance(60)
    del run.files["a.txt"]
    run.put_file("b.txt", b"new")
    sync(exports)
    assert [*held(exports)] == ["a.txt", "b.txt"]
    assert held(exports)["b.txt"]["sha256"] == sha256(b"new")
    exports.server.clock.advance(11 * 60)
    assert sync(exports).complete
    assert [*held(exports)] == ["b.txt"]


def test_file_that_was_replaced_is_fetched_again(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("output.log", b"one\n")
    run.put_file("other.txt", b"same")
    sync(exports)
    exports.server.clock.advance(60)
    run.put_file("output.log", b"one\ntwo\n")
    sync(exports)
    assert exports.asked == {"RunFiles": 1, "download": 1}
    assert held(exports)["output.log"]["sha256"] == sha256(b"one\ntwo\n")
    assert sha256(b"one\n") in blobs(exports)


def test_late_upload_without_a_sign_is_noticed_by_detect_changes(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"one")
    run.finish()
    sync(exports)
    at = run.updated_at
    run.put_file("a.txt", b"two")
    run.updated_at = at
    sync(exports)
    assert asked(exports) == {}
    assert sync(exports, sync_mode="detect_changes").complete
    assert held(exports)["a.txt"]["sha256"] == sha256(b"two")


FAULTS = {
    "cut off with a length": Truncate(0.5),
    "cut off without a length": Truncate(0.5, measured=False),
    "short with its own length": Truncate(0.5, complete=True),
    "other bytes": Replace(b"OTHER BYTES"),
    "404": Status(404),
    "403": Status(403),
    "410": Status(410),
    "500": Status(500),
    "418": Status(418),
    "dropped": Drop(),
    "redirected for ever": Redirect("/files/elsewhere/x"),
    "redirected to a file": Redirect("file:///etc/passwd"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_fault_that_stays_is_named_and_tried_three_times(
    exports: Exports, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dr_wandb.shell.sources.api.pacing.BACKOFF_SECONDS", 0.001)
    run = exports.project.add_run("run")
    run.put_file("bad.txt", b"the right bytes")
    run.put_file("good.txt", b"good")
    run.finish()

    def is_bad(request: Any) -> bool:
        name = request.variables.get("file_name")
        return bool(request.operation == "download" and name == "bad.txt")

    exports.server.faults.add(is_bad, fault, times=None)
    for tries in (1, 2, 3):
        summary = sync(exports)
        row = held(exports)["bad.txt"]
        assert row["sha256"] is None
        assert row["absent"] in ("gone", "mismatch", "failed")
        assert blobs(exports) == {sha256(b"good"): b"good"}
        assert summary.complete == (tries == 3)
    manifest = ExportStore(name="n", data_root=exports.data_root).require_manifest()
    assert manifest.short_runs == {"run": 1}
    sync(exports)
    assert asked(exports) == {}
    exports.server.faults.clear()
    assert sync(exports, sync_mode="detect_changes").complete
    assert held(exports)["bad.txt"]["sha256"] == sha256(b"the right bytes")
    assert held(exports)["bad.txt"]["absent"] is None


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_fault_that_passes_leaves_no_trace(
    exports: Exports, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dr_wandb.shell.sources.api.pacing.BACKOFF_SECONDS", 0.001)
    run = exports.project.add_run("run")
    run.put_file("bad.txt", b"the right bytes")
    run.finish()
    exports.server.faults.add("download", fault, times=1)
    assert sync(exports).complete
    assert held(exports)["bad.txt"]["sha256"] == sha256(b"the right bytes")
    staging = exports.folder() / ".staging"
    assert not staging.exists()


def test_address_that_expired_is_requested_again(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    run.finish()
    exports.server.faults.add("download", Status(403), times=1)
    assert sync(exports).complete
    assert exports.asked == {"RunFiles": 2, "download": 2}


def test_bytes_that_are_held_stay_until_newer_ones_are_held(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"old")
    sync(exports)
    exports.server.clock.advance(60)
    run.put_file("a.txt", b"newer")
    run.file_status["a.txt"] = 404
    assert not sync(exports).complete
    row = held(exports)["a.txt"]
    assert (row["sha256"], row["size"], row["newer"]) == (sha256(b"old"), 3, "gone")
    run.file_status = {}
    assert sync(exports).complete
    assert held(exports)["a.txt"]["sha256"] == sha256(b"newer")
    assert held(exports)["a.txt"]["newer"] is None


def test_wrong_digest_in_the_listing_is_a_mismatch(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a", md5=md5(b"b"))
    run.finish()
    sync(exports)
    assert held(exports)["a.txt"]["absent"] == "mismatch"
    run.put_file("a.txt", b"a", md5=None, sizeBytes="7")
    sync(exports)
    assert held(exports)["a.txt"]["absent"] == "mismatch"
    run.put_file("a.txt", b"a", md5=None, sizeBytes=None)
    assert sync(exports).complete
    assert held(exports)["a.txt"]["sha256"] == sha256(b"a")
    run.put_file("a.txt", b"a", sizeBytes="7")
    assert sync(exports).complete


HOSTILE = (
    *("../../escape.txt", "/etc/escape.txt", "C:escape.txt", "..", ".", "a/../b", "a\\..\\b"),
    *("name", "NAME", "name/below", "x" * 300, "tab\tnew\nline", "\x1b[31mred", "ünïcode ☃"),
    *("trailing.", "con", 'a:b*c?"<>|.txt', "$(touch pwned)", "%2e%2e", "a b", "~", "-rf"),
)


def test_hostile_names_choose_no_path(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for name in HOSTILE:
        run.put_file(name, name.encode())
    run.finish()
    outside = {*exports.data_root.parent.rglob("*")}
    assert sync(exports).complete
    rows = held(exports)
    assert {*rows} == {*HOSTILE}
    assert all(row["sha256"] == sha256(path.encode()) for path, row in rows.items())
    made = {*exports.data_root.parent.rglob("*")} - outside
    below = exports.folder()
    assert all(below in path.parents or path in (below, below.parent) for path in made)
    names = {str(path.relative_to(below)) for path in made if below in path.parents}
    assert not any("escape" in name or "pwned" in name for name in names)


def test_choice_says_which_bytes_are_fetched(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("media/images/a.png", b"png")
    run.put_file("big.bin", b"x" * 2000)
    run.put_file("config.yaml", b"lr: 1")
    run.finish()
    sync(exports, files=FileChoice(fetch=False))
    assert exports.asked == {"RunFiles": 1}
    assert {row["absent"] for row in held(exports).values()} == {"not asked for"}
    assert not (exports.folder() / "blobs").exists()
    sync(exports, files=FileChoice(media=False, max_bytes=1000))
    assert exports.asked == {"RunFiles": 1, "download": 1}
    absent = {path: row["absent"] for path, row in held(exports).items()}
    assert absent == {
        "big.bin": "too large",
        "config.yaml": None,
        "media/images/a.png": "not asked for",
    }
    sync(exports, files=FileChoice(patterns=("*.png",)))
    assert exports.asked == {"RunFiles": 1, "download": 1}
    assert held(exports)["config.yaml"]["sha256"] == sha256(b"lr: 1")
    sync(exports, files=FileChoice(patterns=("*.png",)))
    assert asked(exports) == {}
    sync(exports)
    assert exports.asked == {"RunFiles": 1, "download": 1}
    assert {row["absent"] for row in held(exports).values()} == {None}


def test_everything_brings_what_is_known_of_files_and_no_bytes(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    run.finish()
    exports.sync(with_everything=True)
    assert held(exports)["a.txt"]["absent"] == "not asked for"
    exports.sync(with_everything=True, extra_datasets=("files",))
    assert held(exports)["a.txt"]["sha256"] == sha256(b"a")
    exports.sync(with_everything=True)
    assert held(exports)["a.txt"]["sha256"] == sha256(b"a")


def test_missing_blob_is_fetched_again_and_a_link_is_not_followed(
    exports: Exports, tmp_path: Path
) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    run.finish()
    sync(exports)
    (blob,) = (exports.folder() / "blobs" / "sha256").glob("*/*")
    blob.unlink()
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"a")
    blob.symlink_to(outside)
    sync(exports, sync_mode="detect_changes")
    assert not blob.is_symlink()
    assert blob.read_bytes() == outside.read_bytes() == b"a"
    blob.chmod(0o644)
    blob.write_bytes(b"b")
    sync(exports, sync_mode="full_reconcile")
    assert blob.read_bytes() == b"a"


def test_key_goes_to_no_other_host_and_not_where_it_redirects(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    run.finish()
    with StandInServer() as other:
        elsewhere = other.sign_content("a.txt", b"a")
        server = exports.server
        own = server.sign_content("a.txt", b"a")
        run.file_facts["a.txt"] |= {"directUrl": elsewhere, "url": own}
        assert sync(exports).complete
        run.file_facts["a.txt"] |= {"directUrl": None, "url": elsewhere}
        assert sync(exports, "again").complete
        run.file_facts["a.txt"] |= {"directUrl": "", "url": own}
        server.faults.add("download", Redirect(elsewhere), times=1)
        assert sync(exports, "redirected").complete
        assert [one.has_key for one in server.requests_of("download")] == [True]
        assert [one.has_key for one in other.requests_of("download")] == [False] * 3


def report_of(exports: Exports, **fields: Any) -> VerifyReport:
    return verify_export(ExportStore(name="n", data_root=exports.data_root), **fields)


def blob_of(exports: Exports, content: bytes) -> Path:
    digest = sha256(content)
    return exports.folder() / "blobs" / "sha256" / digest[:2] / digest[2:]


def test_verify_finds_missing_and_altered_bytes(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for name in ("missing", "altered", "longer", "right"):
        run.put_file(name, name.encode())
    run.finish()
    sync(exports)
    assert report_of(exports).sound
    assert report_of(exports).notes == ()
    assert (report_of(exports).blobs, report_of(exports).blob_bytes) == (4, 25)
    (line,) = describe_report(report_of(exports))
    assert line.endswith(" in 6 files and 25 bytes in 4 blobs checked")
    blob_of(exports, b"missing").unlink()
    for content in (b"altered", b"longer"):
        blob_of(exports, content).chmod(0o644)
    blob_of(exports, b"altered").write_bytes(b"ALTERED")
    blob_of(exports, b"longer").write_bytes(b"longer than before")
    problems = {one.problem.partition(" ")[2] for one in report_of(exports).findings}
    assert problems == {
        "is missing (file 'missing' of run 'run')",
        "has other bytes than its name says (file 'altered' of run 'run')",
        "has 18 bytes, not 6 (file 'longer' of run 'run')",
    }
    assert {one.kind for one in report_of(exports).findings} == {"blob"}
    quick = {one.problem.partition(" ")[2] for one in report_of(exports, quick=True).findings}
    assert quick == problems - {"has other bytes than its name says (file 'altered' of run 'run')"}
    sync(exports, sync_mode="full_reconcile")
    assert report_of(exports).sound
    assert len(blobs(exports)) == 4


def test_prune_removes_what_no_file_names(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"old")
    run.put_file("b.txt", b"b")
    sync(exports)
    exports.server.clock.advance(60)
    run.put_file("a.txt", b"new")
    sync(exports)
    strange = exports.folder() / "blobs" / "sha256" / "notes.txt"
    strange.write_text("mine")
    assert [(one.kind, one.text.partition(":")[0]) for one in report_of(exports).notes] == [
        ("unnamed", "1 blob (3 bytes) that no file names")
    ]
    sync(exports, prune=True)
    assert {*blobs(exports).values()} == {b"new", b"b"}
    assert report_of(exports).notes == ()
    exports.sync(drop_datasets=("files",))
    assert {*blobs(exports).values()} == {b"new", b"b"}
    exports.sync(prune=True)
    assert {*blobs(exports).values()} == {b"new", b"b"}
    exports.sync(drop_datasets=("files",), prune=True)
    assert blobs(exports) == {}
    assert strange.read_text() == "mine"


def test_prune_removes_nothing_if_a_line_does_not_read(exports: Exports) -> None:
    folder = exports.folder()
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    run.finish()
    sync(exports)
    (folder / "files.jsonl").write_text("{")
    with pytest.raises(DrWandbError):
        remove_unnamed(folder, exports.data_root)
    assert len(blobs(exports)) == 1


def test_plan_says_how_many_files_would_be_fetched(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"12345")
    run.put_file("b.txt", b"1")
    run.put_file("artifact/1/wandb_manifest.json", b"")
    plan = exports.plan(extra_datasets=("files",))
    assert plan.files == PlannedFiles(files=2, bytes=6)
    assert "files: 2 to fetch, 6 bytes" in list(describe_plan(plan))
    assert not exports.folder().exists()
    sync(exports)
    assert exports.plan(extra_datasets=("files",)).files == PlannedFiles()
    assert exports.plan().files is None
    exports.server.clock.advance(60)
    run.put_file("b.txt", b"22")
    assert exports.plan(extra_datasets=("files",)).files == PlannedFiles(files=1, bytes=2)


def test_files_load_one_by_one_and_their_bytes_open(exports: Exports) -> None:
    for run_id in ("a", "b"):
        run = exports.project.add_run(run_id)
        run.put_file("x.txt", run_id.encode())
    sync(exports)
    (row,) = iter_files("n", exports.data_root, run_ids=["b"])
    assert row.sha256 is not None
    with open_blob("n", exports.data_root, row.sha256) as stream:
        assert stream.read() == b"b"
    assert [one.run_id for one in iter_files("n", exports.data_root)] == ["a", "b"]
    blob_of(exports, b"b").unlink()
    with pytest.raises(DrWandbError, match="the file is missing"):
        open_blob("n", exports.data_root, row.sha256)
    with pytest.raises(ValueError, match="not a SHA-256"):
        open_blob("n", exports.data_root, "../../../etc/passwd")


def test_progress_counts_the_bytes_of_files(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.bin", b"x" * 700_000)
    run.put_file("b.bin", b"y" * 300_000)
    run.finish()
    seen: list[Progress] = []
    request = exports.request(extra_datasets=("files",))
    ExportEngine(
        request, source=ApiSource(exports.shared.session, request), progress=seen.append
    ).export()
    assert max(one.bytes for one in seen) == 1_000_000
    assert seen[-1].stage == Stage.WRITING


def test_files_that_do_not_fit_are_not_begun(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = exports.project.add_run("run")
    run.put_file("large.bin", b"x", sizeBytes="5000000000")
    run.finish()
    used = shutil.disk_usage(exports.data_root.parent)
    little = used._replace(free=4_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: little)
    with pytest.raises(DrWandbError, match="too little space") as caught:
        sync(exports)
    assert caught.value.exit_code == 9
    assert "download" not in exports.asked


class KeptOpen(ApiSource):
    """A source whose session is that of other tests too."""

    def close(self) -> None:
        """Do nothing."""


def test_recording_has_what_is_known_of_files_and_no_bytes(
    exports: Exports, tmp_path: Path
) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"secret bytes of a file")
    run.finish()
    tape = tmp_path / "tape"
    request = exports.request(extra_datasets=("files",))
    ExportEngine(request, source=KeptOpen(exports.shared.session, request), record=tape).export()
    assert held(exports)["a.txt"]["sha256"] == sha256(b"secret bytes of a file")
    said = b"".join(path.read_bytes() for path in tape.rglob("*") if path.is_file())
    assert b"a.txt" in said
    assert b"Signature" not in said
    assert b"secret bytes" not in said
    again = exports.request("replayed", extra_datasets=("files",))
    assert ExportEngine(again, source=source_opener(f"replay:{tape}")).export().complete
    row = held(exports, "replayed")["a.txt"]
    assert row == held(exports)["a.txt"] | {"sha256": None, "absent": "not in the source"}


@pytest.mark.parametrize("where", ["blobs", "blobs/sha256", "blobs/sha256/ca"])
def test_link_in_place_of_a_folder_is_refused(exports: Exports, tmp_path: Path, where: str) -> None:
    run = exports.project.add_run("run")
    run.put_file("a.txt", b"a")
    exports.sync()
    outside = tmp_path / "outside"
    outside.mkdir()
    link = exports.folder() / where
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(DrWandbError, match="a link"):
        sync(exports)
    assert list(outside.iterdir()) == []
    link.unlink()
    assert sync(exports).complete


def test_files_that_the_sdk_named_offline_have_lines(exports: Exports, tmp_path: Path) -> None:
    """A file that was saved and deleted since was not in the export, and nothing said so."""
    with Machine(tmp_path / "machine") as machine:
        machine.start("save_files").end()
        request = exports.request("offline", extra_datasets=("files",), any_project=True)
        request = replace(request, follow_links=(machine.tree,))
        summary = ExportEngine(request, source=source_opener(f"offline:{machine.tree}")).export()
    assert [(one.run_id, one.short_by) for one in summary.short] == [("saves-files", 3)]
    rows = held(exports, "offline")
    (page,) = [name for name in rows if name.startswith("media/html/page [0]*_0_")]
    (gone,) = [name for name in rows if name.startswith("media/html/gone_0_")]
    assert {name for name, row in rows.items() if row["absent"] is None} == {
        *("b\\s.txt", "kept.txt", "out/a.bin", "requirements.txt", "unsaved.txt", "we[i]rd.txt"),
        page,
    }
    absent = {name: row["absent"] for name, row in rows.items() if row["absent"] is not None}
    assert absent == dict.fromkeys(("gone.txt", "out/gone.bin", gone), "gone")
    assert blobs(exports, "offline")[sha256(b"out/a.bin")] == b"out/a.bin"
