"""Runs whose file is there and cannot be read: they fail, and the reason says what to do."""

import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.cli.command import run
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.listing import EveryRun
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources.offline.index import INDEX_FILE
from tests.support.asking import list_all
from tests.support.offline_folders import (
    notices_of,
    open_folder,
    put,
    scan,
    sync_folder,
    whole_run,
)
from tests.support.syncing import NAME
from tests.support.wandb_file import HEADER, file_of, header_record, rows_of, run_record

CONTENTS: dict[str, tuple[bytes, str]] = {
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is a pointer of git-lfs: get it with `git lfs pull`",
    ),
    "git-annex, unlocked": (
        b"/annex/objects/SHA256E-s12--4d7a.wandb\n",
        "is a pointer of git-annex: get it with `git annex get`",
    ),
    "git-annex, no links": (
        b"../../.git/annex/objects/Xx/9q/SHA256E-s12--4d7a.wandb",
        "get the file with `git annex get`",
    ),
    "git-crypt": (b"\x00GITCRYPT\x00\x01\x02", "unlock it with `git-crypt unlock`"),
    "gzip": (b"\x1f\x8b\x08\x00rest", "is compressed with gzip: unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfdrest", "is compressed with zstd: unpack it"),
    "version": (HEADER[:6] + b"\x01" + file_of(whole_run())[7:], "is a .wandb file of version 1"),
}
"""What lies where a `.wandb` file should be, and what is said of it."""


def failed_runs(folder: Path) -> dict[str, str]:
    """Return the runs of a folder that fail, each with its reason."""
    (page,) = open_folder(folder).list_runs(EveryRun())
    assert {failure.kind for failure in page.unread.values()} <= {RunFailureKind.UNREADABLE}
    return {run_id: failure.reason for run_id, failure in page.unread.items()}


@pytest.mark.parametrize("kind", CONTENTS)
def test_run_fails_when_its_content_is_elsewhere(folder: Path, data_root: Path, kind: str) -> None:
    """A clone without its large files seemed to be a project without these runs: code 0."""
    content, reason = CONTENTS[kind]
    path = put(folder, "run", content)
    put(folder, "other", whole_run("other"))
    summary = sync_folder(folder, data_root)
    assert not summary.complete
    (failure,) = summary.failures
    assert (failure.run_id, summary.history_count) == ("run", 5)
    assert failure.reason.startswith(str(path))
    assert reason in failure.reason
    path.write_bytes(file_of(whole_run()))
    summary = sync_folder(folder, data_root)
    assert (summary.failures, summary.history_count) == ((), 10)


@pytest.mark.parametrize("kind", CONTENTS)
def test_run_keeps_its_rows_when_its_file_becomes_a_pointer(
    folder: Path, data_root: Path, kind: str
) -> None:
    put(folder, "run", whole_run())
    sync_folder(folder, data_root)
    put(folder, "run", CONTENTS[kind][0])
    for _ in range(4):
        summary = sync_folder(folder, data_root)
        assert [failure.run_id for failure in summary.failures] == ["run"]
        assert (summary.history_count, summary.missing_count) == (5, 0)


LINKS = {
    "nowhere.wandb": "is a link to nowhere.wandb, which does not exist",
    "../.git/annex/objects/Xx/9q/SHA256E-s1--4d.wandb": "get the file with `git annex get`",
    "/home/me/project/.dvc/cache/files/md5/ab/cd": "get the file with `dvc pull`",
    "run-run.wandb": "Too many levels of symbolic links; restore the file, or delete this",
}


@pytest.mark.parametrize("target", LINKS)
def test_run_fails_when_its_file_is_a_link_that_leads_nowhere(folder: Path, target: str) -> None:
    put(folder, "other", whole_run("other"))
    (folder / "run-run.wandb").symlink_to(target)
    (reason,) = failed_runs(folder).values()
    assert reason.startswith(f"{folder}/run-run.wandb is a link")
    assert LINKS[target] in reason
    assert list(list_all(open_folder(folder))) == ["other"]


@pytest.mark.parametrize("suffix", ["dvc", "gz", "zst"])
def test_run_fails_when_another_file_stands_for_its_own(folder: Path, suffix: str) -> None:
    path = put(folder, "run", whole_run())
    path.with_name(f"run-run.wandb.{suffix}").write_bytes(b"outs:\n- md5: abc\n")
    assert failed_runs(folder) == {}
    path.unlink()
    assert list(failed_runs(folder)) == ["run"]


def test_file_that_is_marked_as_synced_stands_for_nothing(folder: Path) -> None:
    folder.mkdir()
    (folder / "run-run.wandb.synced").write_bytes(b"")
    assert failed_runs(folder) == {}


def test_pipe_and_socket_are_not_opened(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a pipe that nobody writes to would wait for ever."""
    folder.mkdir()
    os.mkfifo(folder / "run-pipe.wandb")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("run-socket.wandb")
        failed = failed_runs(folder)
    to_do = "not a file: restore the file, or delete this"
    assert failed == {
        kind: f"{folder}/run-{kind}.wandb is a {kind}, {to_do}" for kind in ("pipe", "socket")
    }


def test_folder_called_like_a_file_is_searched(folder: Path) -> None:
    put(folder / "runs.wandb", "run", whole_run())
    (folder / "linked.wandb").symlink_to(folder / "runs.wandb")
    assert list(list_all(open_folder(folder))) == ["run"]
    assert failed_runs(folder) == {}


# --- folders that cannot be listed


def refuse(patch: pytest.MonkeyPatch, closed: Path) -> None:
    """Let a folder be one that cannot be listed. (Whoever is root may list any.)"""
    scandir: Any = os.scandir

    def refusing(place: Any) -> Any:
        if place == str(closed):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    patch.setattr(os, "scandir", refusing)


def test_run_fails_when_its_folder_cannot_be_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(folder, "a-b", whole_run("a-b"))
    put(folder, "other", whole_run("other"))
    refuse(monkeypatch, path.parent)
    reason = f"{path.parent} cannot be read: Permission denied; let this user read it"
    assert failed_runs(folder) == {"a-b": reason}
    assert list(list_all(open_folder(folder))) == ["other"]


def test_runs_fail_that_were_read_in_a_folder_that_cannot_be_listed_now(
    folder: Path, data_root: Path
) -> None:
    """A share that was unplugged for a moment marked its runs as gone."""
    put(folder / "share", "file", whole_run("one"))
    put(folder / "share", "two", whole_run("two"))
    put(folder, "other", whole_run("other"))
    sync_folder(folder, data_root)
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, folder / "share")
        summary = sync_folder(folder, data_root)
    assert sorted(failure.run_id for failure in summary.failures) == ["one", "two"]
    assert (summary.history_count, summary.missing_count) == (15, 0)
    assert sync_folder(folder, data_root).failures == ()


def test_folder_that_cannot_be_listed_is_reported_when_nobody_knows_its_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder / "share", "run", whole_run())
    put(folder, "other", whole_run("other"))
    refuse(monkeypatch, folder / "share")
    with caplog.at_level(logging.WARNING):
        assert list(list_all(open_folder(folder))) == ["other"]
    (line,) = caplog.messages
    assert line.startswith(f"{folder}/share cannot be read: Permission denied")
    (notice,) = scan(folder).notices
    assert notice.kind == "out_of_reach"


# --- whose run it is


def test_run_of_another_project_does_not_fail(folder: Path) -> None:
    """A pointer in a folder of another project would fail every sync of this one."""
    put(folder, "run", whole_run(project="other"))
    put(folder, "run", CONTENTS["git-lfs"][0], folder_time="later")
    before = scan(folder)
    assert before.unread.keys() == {"run"}
    put(folder, "run", CONTENTS["git-lfs"][0])
    source = open_folder(folder)
    assert list(list_all(source)) == []


def test_run_is_called_as_its_file_said_before(folder: Path, data_root: Path) -> None:
    path = put(folder, "file", whole_run("inside"))
    sync_folder(folder, data_root)
    path.unlink()
    path.symlink_to("nowhere")
    assert [failure.run_id for failure in sync_folder(folder, data_root).failures] == ["inside"]


@pytest.mark.parametrize("below", ["", "share"], ids=["itself", "the only folder in it"])
@pytest.mark.parametrize("known", [False, True], ids=["first sync", "index lost"])
def test_folder_of_which_nothing_can_be_read_is_refused(
    folder: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch, below: str, known: bool
) -> None:
    """The export was said to be up to date (code 0), or all of its runs to be gone (code 10)."""
    put(folder / "share", "run", whole_run())
    if known:
        sync_folder(folder, data_root)
        (data_root / NAME / INDEX_FILE).unlink()
    closed = folder / below
    refuse(monkeypatch, closed)
    with pytest.raises(DrWandbError) as refused:
        sync_folder(folder, data_root)
    assert refused.value.exit_code == 2
    assert (
        str(refused.value) == f"{closed} cannot be read: Permission denied; let this user read it"
    )
    assert run(["scan", str(folder)]) == 2


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_scan_names_runs_that_cannot_be_read_and_ends_with_3(
    folder: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    path = put(folder, "run", CONTENTS["git-lfs"][0])
    empty = put(folder, "empty", b"")
    put(folder, "other", whole_run("other"))
    flags = ["--json"] if as_json else []
    assert run(["scan", str(folder), *flags]) == 3
    said = capsys.readouterr()
    reason = f"{path} is a pointer of git-lfs: get it with `git lfs pull`"
    name = str(empty.relative_to(folder))
    assert said.err.splitlines() == [f"run 'run': {reason}", f"{name} is empty"]
    if as_json:
        content = json.loads(said.out)
        assert content["unread"] == {"run": {"kind": "unreadable", "reason": reason}}
        (notice,) = content["notices"]
        assert (notice["name"], notice["kind"]) == (name, "not_a_run")
        assert [found["run_id"] for found in content["runs"]] == ["other"]
    else:
        assert said.out.splitlines()[-1] == f"1 run in 1 file below {folder}"
        assert reason not in said.out
        assert name not in said.out
    path.unlink()
    assert run(["scan", str(folder), *flags]) == 0


def test_dry_run_names_runs_that_cannot_be_read_and_ends_with_3(
    folder: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clone without its large files looked like a project without these runs."""
    held = put(folder, "held", whole_run("held"))
    sync_folder(folder, data_root)
    content = CONTENTS["git-lfs"][0]
    held.write_bytes(content)
    put(folder, "new", content)
    put(folder, "other", whole_run("other"))
    dry = ["entity", "project", "--name", NAME, "--data-root", str(data_root), "--mode", "history"]
    dry += ["--source", f"offline:{folder}", "--dry-run"]
    assert run(dry) == 3
    *lines, summed = capsys.readouterr().out.splitlines()
    named = [line.partition(":")[0] for line in lines]
    assert named == ["failed", "  'held'", "  'new'", "new", "  'other'"]
    assert all(line.endswith("get it with `git lfs pull`") for line in lines[1:3])
    assert summed == "3 runs: 1 new, 0 refresh, 0 reuse, 0 missing, 0 prune, 2 failed; " + (
        "about 5 rows, 610 bytes"
    )
    assert run([*dry, "--json"]) == 3
    plan = json.loads(capsys.readouterr().out)
    assert [failure["run_id"] for failure in plan["failures"]] == ["held", "new"]
    assert [planned["run_id"] for planned in plan["runs"]] == ["other"]


def test_folder_without_a_run_file_is_reported(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("")
    assert notices_of(scan(folder)) == ["wandb holds no .wandb file and no older run folder"]


@pytest.mark.parametrize("large", [False, True], ids=["pipe", "too large"])
def test_entry_beside_a_run_file_that_is_no_file_is_not_opened(
    folder: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """A pipe in the place of `wandb-summary.json` held a sync up for ever."""
    killed = [header_record(""), run_record(), *rows_of(range(3))]
    path = put(folder, "run", file_of(killed))
    beside = path.parent / "files"
    beside.mkdir()
    for name in ("wandb-summary.json", "wandb-metadata.json"):
        if large:
            (beside / name).write_text("{}")
        else:
            os.mkfifo(beside / name)
    if large:
        monkeypatch.setattr("dr_wandb.shell.sources.offline.beside.MOST_BYTES", 1)
        monkeypatch.setattr("dr_wandb.shell.sources.offline.source.MOST_METADATA_BYTES", 1)
    summary = sync_folder(folder, data_root, include_metadata=True)
    assert (summary.history_count, summary.failures) == (3, ())
    (failed,) = summary.metadata_failures
    assert ("larger than" if large else "is not a file") in failed.reason


def test_source_that_is_neither_a_folder_nor_a_file_is_refused(
    tmp_path: Path, data_root: Path
) -> None:
    pipe = tmp_path / "run-run.wandb"
    os.mkfifo(pipe)
    with pytest.raises(DrWandbError, match=r"there is no folder .*: it is a pipe, not a file"):
        sync_folder(pipe, data_root)


@pytest.mark.parametrize("target", ["nowhere", "../.git/annex/objects/Xx/9q/SHA256E-s1--4d.wandb"])
def test_source_that_is_a_link_without_its_target_is_refused_with_the_reason(
    tmp_path: Path, data_root: Path, target: str
) -> None:
    link = tmp_path / "run-run.wandb"
    link.symlink_to(target)
    reason = "git annex get" if "annex" in target else "is a link to nowhere, which does not exist"
    with pytest.raises(DrWandbError, match=f"there is no folder {link} .*{reason}") as refused:
        sync_folder(link, data_root)
    assert refused.value.exit_code == 2


def test_links_that_are_not_followed_are_named_if_nothing_is_found(
    folder: Path, tmp_path: Path
) -> None:
    put(tmp_path / "elsewhere", "run", whole_run())
    folder.mkdir()
    (folder / "runs").symlink_to(tmp_path / "elsewhere")
    (folder / "dead").symlink_to("nowhere")
    (said,) = notices_of(scan(folder))
    assert said.endswith("links to folders are not followed, give their targets: runs")


def test_packed_file_that_is_named_itself_is_of_the_run_of_its_file(folder: Path) -> None:
    """Its run was called `run.wandb.gz`."""
    path = put(folder, "run", b"\x1f\x8b\x08")
    packed = path.rename(path.with_name("run-run.wandb.gz"))
    assert failed_runs(packed) == {"run": f"{packed} is compressed with gzip: unpack it"}
