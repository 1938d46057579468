"""What there is to say of files below a folder has a kind: the smallest case of each."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from wandb.proto import wandb_internal_pb2 as pb

from dr_wandb.core.offline.scan_report import NoticeKind
from dr_wandb.shell.sources.offline.runs import look_into
from tests.support.offline_folders import NOW_NS, put, whole_run
from tests.support.old_run import rows_of as old_rows_of
from tests.support.old_run import write_old_run
from tests.support.wandb_file import HEADER, exit_record, file_of, rows_of, run_record


def _same_start(folder: Path) -> None:
    put(folder, "run", whole_run(steps=range(2)))
    put(folder, "run", whole_run(steps=range(2, 5)), folder_time="later")


def _copy(folder: Path) -> None:
    put(folder, "run", whole_run())
    put(folder, "run", whole_run(), folder_time="later")


def _forked(folder: Path) -> None:
    point = pb.BranchPoint(run="parent", value=3, metric="_step")
    put(folder, "run", [run_record(branch_point=point), *rows_of([4]), exit_record()])


def _hollow(folder: Path) -> None:
    (folder / "offline-run-20260101_000000-run").mkdir(parents=True)


def _still_written(folder: Path) -> None:
    put(folder, "run", file_of([run_record(), *rows_of(range(5))])[:-3], modified_ns=NOW_NS)


def _not_decoded(folder: Path) -> None:
    put(folder, "run", [run_record(), b"\xff", *rows_of([0])])


def _file_beside(folder: Path) -> None:
    write_old_run(folder, "run", old_rows_of(range(3)), summary=b"{")


CASES: dict[NoticeKind, Callable[[Path], object]] = {
    NoticeKind.NO_RUN_FILE: lambda folder: folder.mkdir(parents=True),
    NoticeKind.HOLLOW: _hollow,
    NoticeKind.NOT_A_RUN: lambda folder: put(folder, "run", b""),
    NoticeKind.NOTHING_WRITTEN: lambda folder: put(folder, "run", HEADER),
    NoticeKind.NO_PROJECT: lambda folder: put(folder, "run", rows_of([0])),
    NoticeKind.FORKED: _forked,
    NoticeKind.COPY: _copy,
    NoticeKind.SAME_START: _same_start,
    NoticeKind.STILL_WRITTEN: _still_written,
    NoticeKind.LOST_BYTES: lambda folder: put(folder, "run", file_of(whole_run())[:-3]),
    NoticeKind.NOT_DECODED: lambda folder: put(
        folder, "run", [run_record(), b"\xff", *rows_of([0])]
    ),
    NoticeKind.FILE_BESIDE: _file_beside,
}

SERIOUS = set(CASES) - {
    NoticeKind.FORKED,
    NoticeKind.COPY,
    NoticeKind.SAME_START,
    NoticeKind.STILL_WRITTEN,
}


@pytest.mark.parametrize("kind", CASES)
def test_notice_of_a_file_has_the_kind_of_its_text(folder: Path, kind: NoticeKind) -> None:
    CASES[kind](folder)
    (notice,) = look_into(folder, NOW_NS + 10**9).notices
    assert (notice.kind, notice.serious) == (kind, kind in SERIOUS)
    assert notice.text
    assert msgspec.to_builtins(notice)["kind"] == kind.value
