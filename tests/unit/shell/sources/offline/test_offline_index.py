"""What is remembered of `.wandb` files between syncs, and what is read again."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2 as pb

from dr_wandb import ExportEngine, SyncMode
from dr_wandb.core.offline.header import HEADER
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.wandb_file import read_file
from dr_wandb.shell.sources.offline import wandb_decoder
from dr_wandb.shell.sources.offline.found import FoundRuns
from dr_wandb.shell.sources.offline.index import INDEX_FILE, load_index, save_index
from dr_wandb.shell.sources.offline.source import OfflineSource
from tests.support.offline_folders import (
    LATER,
    LONG_AGO_NS,
    let_rest,
    notices_of,
    put,
    scan,
    sync_folder,
    whole_run,
)
from tests.support.syncing import NAME, request_for, visible
from tests.support.wandb_file import (
    config_record,
    exit_record,
    file_of,
    header_record,
    rows_of,
    run_record,
    stats_record,
    summary_record,
)


@pytest.fixture
def index(data_root: Path) -> Path:
    return data_root / NAME / INDEX_FILE


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return where reading of files begins and ends, from now on."""
    calls: list[tuple[int, int]] = []

    def counting(data: Any, before: FileReading, *more: Any) -> FileReading:
        reading = read_file(data, before, *more)
        calls.append((before.end, reading.end))
        return reading

    monkeypatch.setattr(wandb_decoder, "read_file", counting)
    return calls


def content_of(found: FoundRuns) -> list[Any]:
    """Return what was found, without how it was read."""
    return [
        (run.run_id, run.owner, run.fold, [file.file.name for file in run.files])
        for run in found.runs
    ]


RICH = [
    run_record(
        config={"huge": 2**200, "deep": {"é": [1, None, 0.5]}, "dot.key": "NaN"},
        branch_point=pb.BranchPoint(run="parent", value=3, metric="_step"),
        tags=["a"],
    ),
    config_record({"nan": float("nan"), "inf": float("inf"), "tiny": 5e-324, "neg": -0.0}),
    stats_record(1_767_225_700, cpu=float("nan"), gpu=0.5),
    *rows_of(range(5), odd=float("nan")),
    summary_record({"loss": 1.0, "text": "\ud800"}, removed=["text"]),
]


# --- nothing new


def test_file_that_did_not_change_is_not_read_again(
    folder: Path, data_root: Path, read: list[tuple[int, int]]
) -> None:
    put(folder, "a", whole_run("a"))
    put(folder, "b", [run_record("b"), *rows_of(range(3))])
    put(folder, "c", file_of(whole_run("c"))[:-3])
    sync_folder(folder, data_root)
    assert len(read) == 3
    read.clear()
    before = visible(data_root / NAME)
    assert sync_folder(folder, data_root).reused_count == 3
    assert read == []
    assert visible(data_root / NAME) == before


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the run files that are opened, from now on."""
    names: list[str] = []
    opens: Any = os.open

    def counting(place: Any, *arguments: Any, **options: Any) -> Any:
        if str(place).endswith(".wandb"):
            names.append(Path(place).name)
        return opens(place, *arguments, **options)

    monkeypatch.setattr(os, "open", counting)
    return names


@pytest.mark.parametrize("rows", [5, 3000])
def test_file_is_opened_once_and_not_again_while_it_is_untouched(
    folder: Path, opened: list[str], rows: int
) -> None:
    """Thousands of files that nobody writes to were opened in each sync, twice."""
    path = put(folder, "a", whole_run("a", range(rows)))
    put(folder, "b", whole_run("b"))
    first = scan(folder)
    assert sorted(opened) == ["run-a.wandb", "run-b.wandb"]
    opened.clear()
    second = scan(folder, first)
    assert opened == []
    assert (second.known, content_of(second)) == (first.known, content_of(first))
    path.chmod(0o600)
    third = scan(folder, second)
    assert opened == ["run-a.wandb"]
    assert content_of(third) == content_of(first)


def test_notices_of_a_file_are_repeated_though_it_is_not_read_again(folder: Path) -> None:
    put(folder, "c", file_of(whole_run("c"))[:-3])
    put(folder, "d", [run_record("d"), b"\xff", *rows_of([0])])
    put(folder, "e", HEADER)
    first = scan(folder)
    assert len(notices_of(first)) == 3
    assert notices_of(scan(folder, first)) == notices_of(first)


@pytest.mark.parametrize(
    "payloads", [RICH, [*RICH, exit_record()], [b"\xff", *RICH], RICH[1:]], ids=range(4)
)
def test_remembered_reading_equals_the_reading(
    folder: Path, data_root: Path, payloads: Any
) -> None:
    """A sync that remembered a file gave another snapshot than one that read it."""
    put(folder, "run", payloads)
    put(folder, "run", [run_record(started=LATER), *RICH[2:]], folder_time="later")
    first = scan(folder)
    path = data_root / INDEX_FILE
    data_root.mkdir()
    save_index(path, folder, first.known)
    known = load_index(path, folder).known
    assert known == first.known
    assert scan(folder, first._replace(known=known)).runs == first.runs


def test_index_that_says_the_same_is_not_written_again(
    folder: Path, data_root: Path, index: Path
) -> None:
    put(folder, "a", whole_run("a"))
    sync_folder(folder, data_root)
    before = index.stat()
    sync_folder(folder, data_root)
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_file_of_a_run_that_was_forked_at_no_number_is_not_read_again(
    folder: Path, data_root: Path, read: list[tuple[int, int]]
) -> None:
    """One such run made the index useless, so that all files were read in each sync."""
    point = pb.BranchPoint(run="parent", value=float("nan"), metric="_step")
    put(folder, "run", [run_record(branch_point=point), *rows_of([0]), exit_record()])
    sync_folder(folder, data_root)
    sync_folder(folder, data_root)
    assert len(read) == 1


# --- what is read on, and what is read whole


def test_file_that_grew_is_read_from_its_former_end(
    folder: Path, data_root: Path, read: list[tuple[int, int]]
) -> None:
    payloads = [header_record(), run_record(), *rows_of(range(5))]
    more = [*payloads, *rows_of(range(5, 9)), exit_record()]
    put(folder, "run", file_of(payloads) + file_of(more)[len(file_of(payloads)) :][:9])
    sync_folder(folder, data_root)
    put(folder, "run", file_of(more))
    assert sync_folder(folder, data_root).history_count == 9
    assert read == [(7, len(file_of(payloads))), (len(file_of(payloads)), len(file_of(more)))]


def test_file_that_grew_at_its_beginning_too_is_read_whole(
    folder: Path, data_root: Path, read: list[tuple[int, int]]
) -> None:
    put(folder, "run", [run_record(), *rows_of(range(5))])
    sync_folder(folder, data_root)
    put(folder, "run", [run_record(notes="x"), *rows_of(range(9)), exit_record()])
    assert sync_folder(folder, data_root).history_count == 9
    assert [begin for begin, _ in read] == [7, 7]


def test_file_of_another_time_is_read_whole(
    folder: Path, data_root: Path, read: list[tuple[int, int]]
) -> None:
    put(folder, "run", whole_run())
    sync_folder(folder, data_root)
    put(folder, "run", whole_run(), modified_ns=LONG_AGO_NS + 1)
    assert sync_folder(folder, data_root).history_count == 5
    assert [begin for begin, _ in read] == [7, 7]


def test_file_that_was_replaced_by_one_of_the_same_size_and_time_is_noticed(
    folder: Path, data_root: Path
) -> None:
    """A copy tool that keeps times put a file of other rows in place, and nobody saw it."""
    one, other = ([run_record(), *rows_of([0, 1, step])] for step in (4, 8))
    assert len(file_of(one)) == len(file_of(other))
    put(folder, "run", one)
    sync_folder(folder, data_root)
    put(folder, "run", other)
    sync_folder(folder, data_root, sync_mode="full_reconcile")
    rows = (data_root / NAME / "history.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == 8


def test_rows_stay_when_some_are_missing_in_a_file_that_had_them(
    folder: Path, data_root: Path
) -> None:
    """A file that was cut off by a copy took the rows along that the export had."""
    put(folder, "run", whole_run(steps=range(9)))
    sync_folder(folder, data_root)
    before = put(folder, "run", whole_run(steps=range(4)))
    for _ in range(4):
        summary = sync_folder(folder, data_root)
        assert [failed.run_id for failed in summary.failures] == ["run"]
        assert "5 rows that it had are missing" in summary.failures[0].reason
        assert summary.failures[0].kind == "files_missing"
        assert summary.history_count == 9
    put(folder, "run", whole_run(steps=range(10)))
    assert before.exists()
    assert sync_folder(folder, data_root).history_count == 10


@pytest.mark.parametrize("left", [b"", file_of([]), file_of([header_record()])])
def test_rows_stay_when_a_file_that_had_some_is_emptied(
    folder: Path, data_root: Path, left: bytes
) -> None:
    """The run was marked as gone, and `--prune` took its rows."""
    path = put(folder, "run", whole_run())
    put(folder, "other", whole_run("other"))
    sync_folder(folder, data_root)
    path.write_bytes(left)
    let_rest(path)
    for _ in range(2):
        summary = sync_folder(folder, data_root, prune=True)
        assert [failed.run_id for failed in summary.failures] == ["run"]
        assert "restore the file" in summary.failures[0].reason
        assert (summary.history_count, summary.missing_count) == (10, 0)


def two_parts(folder: Path, first: str = "", second: str = "") -> tuple[Path, Path]:
    """Write a run of two files, of five rows and of four, which name an entity or not."""
    one = [run_record("run", entity=first), *rows_of(range(5)), exit_record()]
    later = run_record("run", entity=second, started="2026-01-01T00:10:00Z")
    other = [later, *rows_of(range(5, 9)), exit_record()]
    return put(folder, "run", one), put(folder, "run", other, folder_time="20260101_001000")


def replace_with_another(path: Path) -> None:
    """Let another session of the run have written the file."""
    later = run_record("run", started="2026-01-01T00:05:00Z")
    path.write_bytes(file_of([header_record(), later, *rows_of([20, 21])]))
    let_rest(path)


@pytest.mark.parametrize("named", [("", ""), ("", "team"), ("team", ""), ("team", "team")])
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("what", ["gone", "cut", "replaced"])
def test_rows_stay_whatever_becomes_of_a_part_of_a_run(
    folder: Path, data_root: Path, named: tuple[str, str], part: int, what: str
) -> None:
    """Five of nine rows went in one sync, and the exit code was 0."""
    path = two_parts(folder, *named)[part]
    sync_folder(folder, data_root, any_project=True)
    if what == "gone":
        path.unlink()
    elif what == "cut":
        os.truncate(path, 40)  # within the record that names the run
    else:
        replace_with_another(path)
    for _ in range(3):
        summary = sync_folder(folder, data_root, any_project=True)
        assert [failed.run_id for failed in summary.failures] == ["run"]
        assert "restore" in summary.failures[0].reason
        assert summary.history_count == 9

    two_parts(folder, *named)
    summary = sync_folder(folder, data_root, any_project=True)
    assert (summary.failures, summary.history_count) == ((), 9)


def test_rows_stay_when_one_of_several_files_is_gone(folder: Path, data_root: Path) -> None:
    """The rows of the first part of a resumed run went with its file."""
    first = put(folder, "run", whole_run(steps=range(4)))
    resumed = [run_record(started=LATER, resume=True), *rows_of([4, 5]), exit_record()]
    put(folder, "run", resumed, folder_time="later")
    assert sync_folder(folder, data_root).history_count == 6
    moved = first.rename(folder / "kept")
    for _ in range(4):
        summary = sync_folder(folder, data_root)
        assert "is continued by other files of this run" in summary.failures[0].reason
        assert summary.failures[0].kind == "files_missing"
        assert summary.history_count == 6
    elsewhere = folder / "moved" / "run-run.wandb"
    elsewhere.parent.mkdir()
    moved.rename(elsewhere)
    summary = sync_folder(folder, data_root)
    assert (summary.failures, summary.history_count) == ((), 6)


def test_last_file_of_a_run_that_is_gone_is_called_so(folder: Path, data_root: Path) -> None:
    """It was said to be the file that the run goes on from."""
    put(folder, "run", whole_run(steps=range(4)))
    last = put(folder, "run", [run_record(started=LATER), *rows_of([4, 5])], folder_time="later")
    sync_folder(folder, data_root)
    last.unlink()
    (failed,) = sync_folder(folder, data_root).failures
    name = last.relative_to(folder)
    reason = "is the last file of this run and is missing; restore it and sync again"
    assert failed.reason == f"{name} {reason}"
    assert failed.kind == "files_missing"


def test_resumed_run_gets_its_steps_however_often_it_grew(folder: Path, data_root: Path) -> None:
    """After a dozen syncs of a resumed run a whole read gave its rows other steps."""
    put(folder, "run", whole_run(steps=range(3)))
    for end in range(1, 14):
        resumed = [run_record(started=LATER, resume=True), *rows_of(range(end))]
        put(folder, "run", resumed, folder_time="later")
        sync_folder(folder, data_root)
    sync_folder(folder, data_root, sync_mode=SyncMode.FULL_RECONCILE)
    steps = [json.loads(line)["step"] for line in lines_in(data_root)]
    assert steps == list(range(16))


def test_resumed_file_is_read_again_when_it_says_later_that_it_resumes(
    folder: Path, data_root: Path
) -> None:
    """Its rows kept the steps as written, where a fresh export counted them on."""
    put(folder, "run", whole_run(steps=range(3)))
    put(folder, "run", file_of([header_record()]), folder_time="later")
    sync_folder(folder, data_root)
    resumed = [run_record(started=LATER, resume=True), *rows_of(range(3))]
    put(folder, "run", resumed, folder_time="later")
    sync_folder(folder, data_root)
    assert [json.loads(line)["step"] for line in lines_in(data_root)] == list(range(6))


def test_repaired_damage_is_read_when_the_file_has_grown(folder: Path, data_root: Path) -> None:
    """Blocks that came late, as with a network disk, were left out for ever."""
    content = file_of([header_record(), run_record(), *rows_of(range(3000))])
    holed = content[: 1 << 15] + bytes(1 << 15) + content[1 << 16 : 3 << 15]
    put(folder, "run", holed)
    sync_folder(folder, data_root)
    put(folder, "run", content)
    assert sync_folder(folder, data_root).history_count == 3000


def test_files_behind_one_that_grew_are_joined_again(folder: Path) -> None:
    """A resumed run had the config of a process that had not ended yet."""
    payloads = [run_record(config={"a": 1}), *rows_of(range(3))]
    put(folder, "run", payloads)
    resumed = [run_record(started=LATER, resume=True), *rows_of([7]), exit_record()]
    put(folder, "run", resumed, folder_time="later")
    first = scan(folder)
    put(folder, "run", [*payloads, config_record({"b": 2}), *rows_of([3])])
    assert content_of(scan(folder, first)) == content_of(scan(folder))
    (run,) = scan(folder, first).runs
    assert (run.fold.config, run.fold.rows) == ({"a": 1, "b": 2}, 5)


def test_file_that_began_before_the_first_one_is_put_before_it(folder: Path) -> None:
    resumed = run_record(started=LATER, config={"a": 2}, resume=True)
    put(folder, "run", [resumed, *rows_of([7]), exit_record()])
    first = scan(folder)
    put(folder, "run", [run_record(config={"a": 1, "b": 1}), *rows_of(range(3))], folder_time="zzz")
    assert content_of(scan(folder, first)) == content_of(scan(folder))
    (run,) = scan(folder, first).runs
    assert run.fold.config == {"a": 2, "b": 1}


def lines_in(data_root: Path) -> list[bytes]:
    """Return the history of an export."""
    return (data_root / NAME / "history.jsonl").read_bytes().splitlines()


# --- a file that did not say yet whose it is


STARTS = {
    "only a header": file_of([]),
    "the first record torn": file_of([run_record()])[:20],
    "other records": file_of(rows_of([0])),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("project", ["project", "other"])
def test_file_whose_run_record_came_later_is_of_that_run(
    folder: Path, start: str, project: str
) -> None:
    """A run that was looked at in its first moment was for ever nameless: of any project."""
    named = run_record("inside", project=project)
    rest = [] if start == "only a header" else rows_of([0]) if start == "other records" else []
    put(folder, "outside", STARTS[start])
    first = scan(folder)
    put(folder, "outside", [*rest, named, *rows_of([1, 2]), exit_record()])
    (run,) = scan(folder, first).runs
    assert run.run_id == "inside"
    assert run.owner == ("", project)
    assert content_of(scan(folder, first)) == content_of(scan(folder))


# --- an index that cannot be used


def spoil_version(content: bytes) -> bytes:
    return content.replace(b'"version":', b'"version":99', 1)


USELESS: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda content: b"\x00garbage",
    "empty": lambda content: b"",
    "cut": lambda content: content[:-20],
    "another shape": lambda content: b"[1, 2]",
    "another version": spoil_version,
    "deep": lambda content: b"[" * 100_000,
    "another folder": lambda content: content.replace(b'"folder":"/', b'"folder":"/other/', 1),
    "not UTF-8": lambda content: content.replace(b'"run"', b'"\xff\xfe"', 1),
}


@pytest.mark.parametrize("kind", USELESS)
def test_index_that_cannot_be_used_is_made_again(
    folder: Path, data_root: Path, index: Path, kind: str, read: list[tuple[int, int]]
) -> None:
    put(folder, "run", whole_run())
    sync_folder(folder, data_root)
    good, before = index.read_bytes(), visible(data_root / NAME)
    spoilt = USELESS[kind](good)
    assert spoilt != good
    index.write_bytes(spoilt)
    assert sync_folder(folder, data_root).history_count == 5
    assert len(read) == 2
    assert index.read_bytes() == good
    assert visible(data_root / NAME) == before


def test_index_of_another_folder_is_not_used(
    tmp_path: Path, data_root: Path, read: list[tuple[int, int]]
) -> None:
    put(tmp_path / "one", "run", whole_run(steps=[0, 1]))
    put(tmp_path / "two", "run", whole_run(steps=[0, 2]))
    sync_folder(tmp_path / "one", data_root)
    sync_folder(tmp_path / "two", data_root, sync_mode="full_reconcile")
    assert len(read) == 2
    last = (data_root / NAME / "history.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == 2


# --- who writes it


def test_dry_run_writes_nothing_but_uses_what_is_known(
    folder: Path, data_root: Path, index: Path, read: list[tuple[int, int]]
) -> None:
    put(folder, "run", whole_run())
    request = request_for(data_root)

    def opener(request: Any, private: Path) -> OfflineSource:
        return OfflineSource.open(request, folder, private)

    ExportEngine(request, source=opener).plan()
    assert not index.exists()
    assert not data_root.exists()
    ExportEngine(request, source=opener).export()
    before = index.stat()
    assert len(read) == 2
    put(folder, "run", whole_run(steps=range(9)))
    ExportEngine(request, source=opener).plan()
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path.name for path in data_root.iterdir()] == [NAME]
