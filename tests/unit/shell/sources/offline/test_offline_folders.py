"""Which runs a folder of `.wandb` files holds: copies, resumed runs, projects."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2 as pb

from dr_wandb.core.contract.failures import DrWandbError, MixedRuns
from dr_wandb.core.contract.listing import EveryRun
from dr_wandb.core.contract.wording import printable
from dr_wandb.shell.sources.offline.index import Known
from dr_wandb.shell.sources.offline.runs import FolderScan
from tests.support.asking import list_all
from tests.support.offline_folders import (
    LATER,
    NOW_NS,
    notices_of,
    open_folder,
    put,
    run_of,
    scan,
    steps_of,
    sync_folder,
    whole_run,
)
from tests.support.wandb_file import (
    config_record,
    environment_record,
    exit_record,
    file_of,
    header_record,
    rows_of,
    run_record,
    summary_record,
    write_metadata,
)

LAST = "2026-01-01T00:40:00Z"


# --- where the files lie


def test_runs_are_found_in_folders_of_any_depth(folder: Path) -> None:
    put(folder, "a", whole_run("a"))
    put(folder / "deep" / "er" / "wandb", "b", whole_run("b"))
    (folder / "run-c.wandb").write_bytes(file_of(whole_run("c")))
    (folder / "notes.txt").write_text("not a run")
    (folder / "run-a.wandb.synced").write_bytes(b"")
    assert set(list_all(open_folder(folder))) == {"a", "b", "c"}


def test_folders_of_the_sdk_in_a_run_folder_are_not_searched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a hundred thousand images was searched for run files in every sync."""
    path = put(folder, "a", whole_run("a"))
    for name in ("files", "logs", "tmp", "mine"):
        (path.parent / name).mkdir()
    listed: list[str] = []
    scandir = os.scandir

    def counting(place: str) -> object:
        listed.append(Path(place).name)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", counting)
    put(path.parent / "mine", "b", whole_run("b"))
    put(folder / "files", "c", whole_run("c"))
    assert set(list_all(open_folder(folder))) == {"a", "b", "c"}
    assert {"files", "mine"} < set(listed)
    assert not {"logs", "tmp"} & set(listed)


def test_one_run_folder_and_one_file_hold_their_run(folder: Path) -> None:
    path = put(folder, "a", whole_run("a"))
    put(folder, "b", whole_run("b"))
    for place in (path.parent, path):
        assert list(list_all(open_folder(place))) == ["a"]
        assert steps_of(open_folder(place), "a") == [0, 1, 2, 3, 4]


def test_folder_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(DrWandbError, match="there is no folder"):
        list_all(open_folder(folder))


def test_empty_folder_has_no_runs(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    assert list_all(open_folder(folder)) == {}
    assert sync_folder(folder, tmp_path / "data").run_count == 0


def test_runs_are_listed_oldest_first_and_those_without_a_time_are_there(folder: Path) -> None:
    put(folder, "1", whole_run("late", started=LATER))
    put(folder, "2", whole_run("early"))
    put(folder, "3", whole_run("never", started=None))
    source = open_folder(folder)
    assert list(list_all(source)) == ["never", "early", "late"]
    assert list_all(source)["never"].created_at is None
    assert steps_of(source, "never") == [0, 1, 2, 3, 4]


def test_runs_of_many_pages_are_each_listed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dr_wandb.shell.sources.offline.source.RUNS_PER_PAGE", 2)
    for name in "abcde":
        put(folder, name, whole_run(name))
    pages = list(open_folder(folder).list_runs(EveryRun()))
    assert [[node["name"] for node in page.runs] for page in pages] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]


# --- copies


def test_file_that_is_there_twice_is_one_run(folder: Path) -> None:
    """A copied folder doubled the rows of its runs."""
    put(folder / "one", "run", whole_run())
    put(folder / "two", "run", whole_run())
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4]
    (notice,) = scan(folder).notices
    assert not notice.serious
    assert "skipped: a copy of" in notice.text


@pytest.mark.parametrize("shorter", ["one", "two"])
def test_longest_of_several_copies_is_read(folder: Path, shorter: str) -> None:
    longer = "two" if shorter == "one" else "one"
    payloads = whole_run()
    put(folder / shorter, "run", payloads[:3])
    put(folder / longer, "run", payloads)
    put(folder / "torn", "run", file_of([header_record(), *payloads])[:-1])
    source = open_folder(folder)
    assert steps_of(source) == [0, 1, 2, 3, 4]
    assert run_of(source).state == "finished"
    assert {notice.serious for notice in scan(folder).notices} == {False}


def test_latest_run_is_no_other_run(folder: Path) -> None:
    path = put(folder, "run", whole_run())
    link = folder / "latest-run"
    link.symlink_to(path.parent.name)
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4]
    assert notices_of(scan(folder)) == []
    link.unlink()
    shutil.copytree(path.parent, link)
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4]
    (run,) = scan(folder).runs
    assert len(run.files) == 1


def test_file_under_two_names_is_read_once(folder: Path) -> None:
    path = put(folder, "run", whole_run())
    (folder / "hard").mkdir()
    os.link(path, folder / "hard" / "run-run.wandb")
    (folder / "linked.wandb").symlink_to(path)
    assert steps_of(open_folder(folder)) == [0, 1, 2, 3, 4]
    assert notices_of(scan(folder)) == []


def test_copies_without_a_run_record_are_both_read_as_one_run_without_doubled_rows(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        put(folder / name, "run", [*rows_of(range(5)), exit_record()])
    assert sync_folder(folder, tmp_path).history_count == 5


# --- resumed runs


def resumed(folder: Path) -> None:
    """Write a run of three processes, whose folders are named against the order of time."""
    first = [
        run_record(config={"lr": 0.1, "gone": 1, "deep": {"a": 1, "b": 2}}, display_name="first"),
        *rows_of(range(4)),
        summary_record({"loss": 4, "gone": 1, ("deep", "a"): 1, ("deep", "b"): 2}),
        exit_record(1),
    ]
    second = [
        run_record(started=LATER, resumed=True, tags=["again"]),
        config_record({"lr": 0.2}, removed=["gone", ("deep", "a")]),
        *rows_of(range(4, 6)),
        summary_record({"loss": 6}, removed=["gone", ("deep", "a"), "not there"]),
    ]
    third = [
        run_record(started=LAST, display_name="third", resume=True),
        *rows_of(range(6, 9)),
        summary_record({"loss": 9}),
        exit_record(0),
    ]
    for folder_time, payloads in {"3": first, "2": second, "1": third}.items():
        put(folder, "run", payloads, folder_time=folder_time)


def test_resumed_run_is_its_files_in_the_order_of_time(folder: Path) -> None:
    resumed(folder)
    source = open_folder(folder)
    run = run_of(source)
    assert run.config == {"lr": 0.2, "deep": {"b": 2}}
    assert run.summary_metrics == {"loss": 9, "_step": 8}
    assert (run.state, run.display_name, run.tags) == ("finished", "third", ["again"])
    assert (run.created_at, run.history_line_count) == ("2026-01-01T00:00:00Z", 9)
    assert run.history_keys == {"lastStep": 8}
    assert steps_of(source) == list(range(9))


@pytest.mark.parametrize(
    ("last", "state"),
    [([exit_record(0)], "finished"), ([exit_record(3)], "failed"), ([], "crashed")],
)
def test_state_of_a_resumed_run_is_that_of_its_last_file(
    folder: Path, last: list[bytes], state: str
) -> None:
    """A run that was killed after it had been resumed seemed to have finished."""
    put(folder, "run", whole_run())
    put(folder, "run", [run_record(started=LATER), *rows_of([5]), *last], folder_time="later")
    assert run_of(open_folder(folder)).state == state


def test_resumed_run_is_running_when_its_last_file_was_written_to_just_now(folder: Path) -> None:
    put(folder, "run", whole_run())
    payloads = [run_record(started=LATER), *rows_of([5])]
    put(folder, "run", payloads, folder_time="later", modified_ns=NOW_NS - 299 * 10**9)
    assert run_of(open_folder(folder)).state == "running"
    assert run_of(open_folder(folder, now_ns=NOW_NS + 10**9)).state == "crashed"


def test_copied_folder_is_not_running(folder: Path) -> None:
    """All runs of a folder that was copied a minute ago were running, and none was whole."""
    copied = NOW_NS + 30 * 86_400 * 10**9
    content = file_of([header_record(), run_record(), *rows_of(range(5))])[:-3]
    put(folder, "run", content, modified_ns=copied)
    assert run_of(open_folder(folder, now_ns=copied + 10**9)).state == "crashed"
    (notice,) = FolderScan(folder, Known(), now_ns=copied + 10**9).scan().notices
    assert "the last record is cut off" in notice.text
    put(folder, "run", content, modified_ns=NOW_NS)
    (notice,) = FolderScan(folder, Known(), now_ns=NOW_NS + 10**9).scan().notices
    assert "is still being written" in notice.text


def test_resumed_run_is_as_it_was_when_its_last_file_has_no_record(folder: Path) -> None:
    put(folder, "run", whole_run())
    put(folder, "run", file_of([]), folder_time="later")
    source = open_folder(folder)
    assert steps_of(source) == [0, 1, 2, 3, 4]
    assert run_of(source).state == "finished"


def test_rows_of_one_step_in_two_files_are_both_kept_when_their_times_differ(
    folder: Path, tmp_path: Path
) -> None:
    put(folder, "run", [run_record(), *rows_of([0, 1])])
    again = [run_record(started=LATER), *rows_of([1], _timestamp=1_767_226_000.5)]
    put(folder, "run", again, folder_time="later")
    assert sync_folder(folder, tmp_path).history_count == 3


# --- what a run is called


def test_run_without_a_run_record_is_called_as_its_file(folder: Path) -> None:
    put(folder, "abc", [*rows_of(range(3)), exit_record()])
    run = run_of(open_folder(folder), "abc")
    assert (run.display_name, run.name, run.created_at) == (None, "abc", None)
    assert steps_of(open_folder(folder), "abc") == [0, 1, 2]


def test_run_is_called_as_its_record_and_not_as_its_file(folder: Path) -> None:
    put(folder, "file", whole_run("../../inside\n"))
    assert list(list_all(open_folder(folder))) == ["../../inside\n"]


def test_run_is_called_as_it_was_last_renamed(folder: Path) -> None:
    payloads = [
        run_record(display_name="first", notes="note", run_group="g", job_type="j", tags=["a"]),
        *rows_of([0]),
        run_record(started=None, display_name="second", tags=["b", "c"], sweep_id="s"),
        exit_record(),
    ]
    put(folder, "run", payloads)
    run = run_of(open_folder(folder))
    assert (run.name, run.tags, run.sweep_name) == ("second", ["b", "c"], "s")
    assert (run.notes, run.group, run.job_type) == ("note", "g", "j")
    assert run.created_at == "2026-01-01T00:00:00Z"


# --- projects


def test_runs_of_other_projects_are_left_out_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, "a", whole_run("a"))
    put(folder, "b", whole_run("b", project="other"))
    put(folder, "c", whole_run("c", entity="else"))
    put(folder, "d", whole_run("d", entity="entity"))
    with caplog.at_level(logging.WARNING):
        assert list(list_all(open_folder(folder))) == ["a", "d"]
    (line,) = caplog.messages
    assert "skipped 2 runs of other projects (else/project, other)" in line
    assert "--any-project" in line


def test_one_run_of_another_project_is_counted_as_one(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, "b", whole_run("b", project="other"))
    with caplog.at_level(logging.WARNING):
        assert list_all(open_folder(folder)) == {}
    assert caplog.messages[0].startswith("skipped 1 run of other projects (other)")


@pytest.mark.parametrize(("entity", "project"), [("", ""), ("entity", ""), ("", "project")])
def test_blank_entity_or_project_is_any(folder: Path, entity: str, project: str) -> None:
    put(folder, "run", whole_run(entity=entity, project=project))
    assert list(list_all(open_folder(folder))) == ["run"]


def test_any_project_takes_all_runs_in(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(folder, "a", whole_run("a"))
    put(folder, "b", whole_run("b", project="other"))
    put(folder, "c", whole_run("c", entity="else", project="third"))
    with caplog.at_level(logging.WARNING):
        assert list(list_all(open_folder(folder, any_project=True))) == ["a", "b", "c"]
    assert caplog.messages == []


HOSTILE = ("../../x", "a/b", "über 😀", "line\nbreak", "--any-project", "%s%n", "x" * 300)


@pytest.mark.parametrize("project", HOSTILE)
def test_project_may_have_any_name(
    folder: Path, tmp_path: Path, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, "a", whole_run("a"))
    put(folder, "b", whole_run("b", project=project))
    with caplog.at_level(logging.WARNING):
        assert list(list_all(open_folder(folder))) == ["a"]
    assert printable(project) in caplog.messages[0]
    summary = sync_folder(folder, tmp_path / "data", any_project=True)
    assert (summary.run_count, summary.history_count) == (2, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "wandb"]


@pytest.mark.parametrize("other", [{"project": "other"}, {"entity": "else"}])
def test_runs_with_one_id_in_two_projects_are_an_error_when_any_is_taken(
    folder: Path, tmp_path: Path, other: dict[str, str]
) -> None:
    fields: dict[str, Any] = {"entity": "entity"} | other
    put(folder / "one", "run", whole_run(entity="entity"))
    put(folder / "two", "run", whole_run(started=LATER, **fields))
    with pytest.raises(DrWandbError) as error:
        sync_folder(folder, tmp_path / "data", any_project=True)
    assert isinstance(error.value.failure, MixedRuns)
    assert not (tmp_path / "data" / "export" / "runs.jsonl").exists()


@pytest.mark.parametrize("mine_is_older", [True, False])
def test_run_is_exported_when_another_project_has_one_with_its_id(
    folder: Path, mine_is_older: bool
) -> None:
    """A run was left out of the export of its own project, or got rows of another one's."""
    early, late = whole_run(steps=[0, 1]), {"started": LATER}
    if mine_is_older:
        put(folder / "one", "run", early)
        put(folder / "two", "run", whole_run(steps=[7, 8], project="other", **late))
        expected = [0, 1]
    else:
        put(folder / "one", "run", whole_run(steps=[7, 8], project="other"))
        put(folder / "two", "run", whole_run(steps=[0, 1, 2], **late))
        expected = [0, 1, 2]
    source = open_folder(folder)
    assert list(list_all(source)) == ["run"]
    assert steps_of(source) == expected
    assert run_of(source).history_line_count == len(expected)


def test_file_of_another_project_is_left_out_also_when_it_cannot_say_its_run(
    folder: Path,
) -> None:
    put(folder, "run", [run_record("", project="other"), *rows_of([0])])
    assert list_all(open_folder(folder)) == {}


# --- the machine


def test_metadata_is_the_file_that_wandb_wrote(folder: Path) -> None:
    payloads = [run_record(), environment_record(host="in-the-record"), exit_record()]
    path = put(folder, "run", payloads)
    source = open_folder(folder)
    assert source.read_metadata(list_all(source)["run"]) == {"host": "in-the-record"}
    write_metadata(path, b'{"host": "in-the-file"}')
    assert source.read_metadata(list_all(source)["run"]) == {"host": "in-the-file"}


def test_metadata_of_a_resumed_run_is_that_of_its_last_file(folder: Path) -> None:
    write_metadata(put(folder, "run", whole_run()), b'{"host": "first"}')
    later = put(folder, "run", whole_run(started=LATER, steps=[7]), folder_time="later")
    source = open_folder(folder)
    assert source.read_metadata(list_all(source)["run"]) == {"host": "first"}
    write_metadata(later, b'{"host": "second"}')
    assert source.read_metadata(list_all(source)["run"]) == {"host": "second"}


def test_machine_is_described_as_wandb_describes_it(folder: Path) -> None:
    record = environment_record(
        os="Linux",
        python="3.11",
        args=["--lr", "1"],
        cpu_count=2,
        gpu_type="A",
        git=pb.GitRepoRecord(commit="abc"),
        memory=pb.MemoryInfo(total=2**40),
        disk={"/": pb.DiskInfo(total=1, used=2)},
        slurm={"job_id": "1"},
    )
    put(folder, "run", [run_record(), record, exit_record()])
    source = open_folder(folder)
    assert source.read_metadata(list_all(source)["run"]) == {
        "os": "Linux",
        "python": "3.11",
        "args": ["--lr", "1"],
        "cpu_count": 2,
        "gpu": "A",
        "git": {"commit": "abc"},
        "memory": {"total": str(2**40)},
        "disk": {"/": {"total": "1", "used": "2"}},
        "slurm": {"job_id": "1"},
    }
