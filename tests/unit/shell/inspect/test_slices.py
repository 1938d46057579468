"""A data file that is checked in slices: the same report, whoever checks them."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.progress import Progress
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.verify import FindingKind, VerifyReport, describe_report
from dr_wandb.shell import processes
from dr_wandb.shell.inspect import slices
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.progress import CountedProgress
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.inline_executor import InlineExecutor
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


@cache
def whole() -> dict[str, bytes]:
    source = MemorySource()
    for number in range(6):
        run_id = f"run-{number}"
        source.add_run(run_id)
        for step in range(40 if number == 2 else 5):
            source.log(run_id, {"loss": step / 4})
        source.finish(run_id)
    with TemporaryDirectory() as folder:
        syncing.sync(source, Path(folder))
        return {
            path.name: path.read_bytes()
            for path in (Path(folder) / NAME).iterdir()
            if path.is_file()
        }


def put(history: bytes, data_root: Path) -> ExportStore:
    folder = data_root / NAME
    folder.mkdir(parents=True)
    for name, content in {**whole(), "history.jsonl": history}.items():
        (folder / name).write_bytes(content)
    return ExportStore(name=NAME, data_root=data_root)


def history() -> list[bytes]:
    return whole()["history.jsonl"].splitlines(keepends=True)


def swapped() -> list[bytes]:
    lines = history()
    lines[4], lines[5], lines[20], lines[30] = lines[5], lines[4], lines[30], lines[20]
    return lines


HISTORIES: dict[str, Callable[[], list[bytes]]] = {
    "sound": history,
    "a broken line": lambda: [*history()[:20], b'{"run_id":"ru\n', *history()[21:]],
    "many broken lines": lambda: [*history()[:9], *[b"oops\n"] * 40, *history()[9:]],
    "nothing but broken lines": lambda: [b"oops\n"] * 400,
    "rows in another order": swapped,
    "every row twice": lambda: [line for line in history() for _ in range(2)],
    "a run in two places": lambda: history()[20:] + history()[:40],
    "rows of an unknown run": lambda: history() + [b'{"run_id":"z","step":1}\n'] * 3,
    "cut short": lambda: [*history()[:-1], history()[-1][:30]],
    "without the last newline": lambda: [*history()[:-1], history()[-1][:-1]],
    "empty": list,
    "one long line": lambda: [b'{"run_id":"' + b"x" * 5000 + b'"}\n', *history()],
}


class Refusing(Executor):
    """Takes no work."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        raise BrokenExecutor("broken")


class Failing(Executor):
    """Does every other piece of work."""

    def __init__(self) -> None:
        self.taken = 0

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.taken += 1
        if self.taken % 2:
            return InlineExecutor().submit(fn, *arguments, **named)
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("broken"))
        return future


class Elsewhere(Executor):
    """Is on another machine, where other bytes are under the same path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken = 0

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.taken += 1
        path, *others = arguments
        there = self.folder / path.name
        there.write_bytes(b"\n" * path.stat().st_size)
        return InlineExecutor().submit(fn, there, *others, **named)


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be a large file."""
    monkeypatch.setattr(slices, "SLICE_BYTES", 700)
    monkeypatch.setattr(slices, "AT_ONCE_BYTES", 400)
    monkeypatch.setattr(slices, "BYTES_PER_PROCESS", 1000)


@pytest.fixture
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    """Return one of several executors."""
    with ThreadPoolExecutor(3) as threads:
        made = {"inline": InlineExecutor(), "threads": threads, "refusing": Refusing()}
        made |= {"failing": Failing(), "elsewhere": Elsewhere(tmp_path)}
        yield made[request.param]


@cache
def report_in_one_piece(kind: str) -> VerifyReport:
    with TemporaryDirectory() as folder:
        return verify_export(put(b"".join(HISTORIES[kind]()), Path(folder)))


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("kind", HISTORIES)
@pytest.mark.parametrize(
    "executor", ["inline", "threads", "refusing", "failing", "elsewhere"], indirect=True
)
def test_report_is_the_same_whoever_checks_the_slices(
    kind: str, executor: Executor, tmp_path: Path
) -> None:
    store = put(b"".join(HISTORIES[kind]()), tmp_path)
    report = verify_export(store, executor=executor)
    assert encode_document(report) == encode_document(report_in_one_piece(kind))
    assert report.sound == (kind == "sound")
    if isinstance(executor, Failing | Elsewhere) and kind != "empty":
        assert executor.taken > 1


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("kind", ["sound", "every row twice", "many broken lines"])
def test_report_is_the_same_when_other_processes_check_slices(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    submit = processes.Processes.submit

    def note(self: Any, fn: Any, /, *arguments: Any, **named: Any) -> Any:
        asked.append(arguments)
        return submit(self, fn, *arguments, **named)

    monkeypatch.setattr(processes.Processes, "submit", note)
    monkeypatch.setattr(slices, "count_cores", lambda: 3)
    report = verify_export(put(b"".join(HISTORIES[kind]()), tmp_path))
    assert encode_document(report) == encode_document(report_in_one_piece(kind))
    assert len(asked) > 1


@pytest.mark.parametrize("cores", [1, 2])
def test_small_export_or_a_single_core_starts_no_process(
    cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of a small export would take longer for it."""

    def start(count: int) -> None:
        raise AssertionError("a process is started")

    monkeypatch.setattr(processes, "Processes", start)
    monkeypatch.setattr(slices, "count_cores", lambda: cores)
    if cores == 1:
        monkeypatch.setattr(slices, "BYTES_PER_PROCESS", 1000)
    assert verify_export(put(b"".join(history()), tmp_path)).sound


def test_file_that_becomes_shorter_is_not_read_to_its_former_end(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"oops\n")
    with pytest.raises(OSError, match="shorter than it was"):
        slices.audit_slice(path, 0, 9, "history", RowRules(strict=True))


# --- progress


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("quick", [False, True])
def test_progress_goes_up_to_all_bytes(
    quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dr_wandb.shell.progress.SECONDS_BETWEEN_REPORTS", 0)
    store, said = put(b"".join(history()), tmp_path), list[Progress]()
    verify_export(store, quick=quick, progress=said.append)
    names = ("runs.jsonl", "history.jsonl", "changes.jsonl")
    total = sum((store.export_dir / name).stat().st_size for name in names)
    assert {one.total for one in said} == {total}
    done = [one.done for one in said]
    assert done == sorted(done)
    assert done[-1] == total
    assert len(done) > 3


def test_progress_is_reported_a_few_times_a_second() -> None:
    now, said = 0.0, list[Progress]()
    counted = CountedProgress(1000, said.append, clock=lambda: now)
    for _ in range(16):
        now += 0.0625
        counted.add(50)
    counted.add(500)
    now += 1
    counted.add(0)
    counted.finish()
    assert [one.done for one in said] == [200, 400, 600, 800, 1000, 1000]


# --- quick


def test_quick_check_of_a_sound_export_says_what_it_did_not_check(tmp_path: Path) -> None:
    full = verify_export(put(b"".join(history()), tmp_path))
    quick = verify_export(ExportStore(name=NAME, data_root=tmp_path), quick=True)
    (note,) = quick.notes
    assert note.kind == "quick"
    assert note.text == (
        "a quick check: that each line reads, its spelling and order, that each row has its run, "
        "and the byte ranges and positions in state.json were not checked; of blobs only the sizes "
        "were"
    )
    assert (quick.quick, full.quick) == (True, False)
    assert describe_report(quick)[0].startswith(
        "export (entity/project) is sound as far as a quick check looks: 6 runs, 65 rows, "
    )
    assert (quick.sound, quick.files, quick.rows) == (True, full.files, full.rows)


@pytest.mark.parametrize("kind", HISTORIES)
def test_quick_check_finds_each_file_that_is_not_as_it_was_written(
    kind: str, tmp_path: Path
) -> None:
    quick = verify_export(put(b"".join(HISTORIES[kind]()), tmp_path), quick=True)
    full = report_in_one_piece(kind)
    assert quick.sound == full.sound
    assert {*quick.findings} <= {*full.findings}
    assert quick.files == full.files
    kinds = {finding.kind for finding in quick.findings}
    assert kinds <= {FindingKind.CONTENT, FindingKind.TORN, FindingKind.MANIFEST}


def test_quick_check_of_a_missing_file_reports_it(tmp_path: Path) -> None:
    store = put(b"".join(history()), tmp_path)
    (store.export_dir / "history.jsonl").unlink()
    (finding,) = verify_export(store, quick=True).findings
    assert finding.describe() == "history.jsonl: is missing"


def test_copy_without_hidden_files_is_sound_for_a_quick_check_too(tmp_path: Path) -> None:
    store = put(b"".join(history()), tmp_path)
    copied = tmp_path / "copied" / NAME
    shutil.copytree(store.export_dir, copied, ignore=shutil.ignore_patterns(".*"))
    report = verify_export(ExportStore(name=NAME, data_root=copied.parent), quick=True)
    assert report.sound
    assert [note.kind for note in report.notes] == ["forgotten", "quick"]
