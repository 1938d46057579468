"""The samples of machines in `.wandb` files, as an export holds them."""

from pathlib import Path
from typing import Any

from dr_wandb import iter_system_samples
from tests.support.offline_folders import put, sync_folder
from tests.support.old_run import write_old_run
from tests.support.syncing import NAME
from tests.support.wandb_file import exit_record, rows_of, run_record, stats_record

SYSTEM: dict[str, Any] = {"extra_datasets": ("system",)}
START = 1_767_225_600
LATE = "2026-01-01T00:20:00Z"


def values(data_root: Path, run_id: str = "run") -> list[tuple[float, Any]]:
    samples = iter_system_samples(NAME, data_root, run_ids=[run_id])
    return [(float(one.timestamp or 0) - START, one.metrics["system.cpu"]) for one in samples]


def test_samples_up_to_the_exit_are_exported(folder: Path, data_root: Path) -> None:
    payloads = [
        run_record(),
        stats_record(START + 1, cpu=0.5),
        *rows_of(range(3)),
        stats_record(START + 2, cpu=1.0),
        exit_record(),
        stats_record(START + 3, cpu=2),
    ]
    put(folder, "run", payloads)
    assert sync_folder(folder, data_root, **SYSTEM).complete
    (first, second) = iter_system_samples(NAME, data_root)
    assert (first.run_id, first.timestamp, first.runtime) == ("run", str(START + 1), 1)
    assert first.metrics == {"system.cpu": 0.5}
    assert second.metrics == {"system.cpu": 1}


def test_session_that_resumes_adds_samples_and_another_one_takes_the_place_of_the_first(
    folder: Path, data_root: Path
) -> None:
    samples = [stats_record(START + at, cpu=at) for at in (1, 2, 3)]
    cases: list[tuple[str, dict[str, Any]]] = [("on", {"resumed": True}), ("over", {})]
    for run_id, fields in cases:
        put(folder, run_id, [run_record(run_id), *samples, exit_record(1)])
        again = [
            run_record(run_id, started=LATE, **fields),
            stats_record(START + 1201, cpu=9),
            exit_record(),
        ]
        put(folder, run_id, again, folder_time="20260101_002000")
    assert sync_folder(folder, data_root, **SYSTEM).complete
    assert values(data_root, "on") == [(1, 1), (2, 2), (3, 3), (1201, 9)]
    assert values(data_root, "over") == [(2, 2), (3, 3), (1201, 9)]


def test_samples_of_a_file_that_grows_are_added(folder: Path, data_root: Path) -> None:
    payloads = [run_record(), stats_record(START + 1, cpu=1)]
    put(folder, "run", payloads)
    sync_folder(folder, data_root, **SYSTEM)
    put(folder, "run", [*payloads, stats_record(START + 2, cpu=2), exit_record()])
    assert sync_folder(folder, data_root, **SYSTEM).complete
    assert values(data_root) == [(1, 1), (2, 2)]


def test_run_from_before_wandb_files_has_no_samples(folder: Path, data_root: Path) -> None:
    write_old_run(folder, "run")
    assert sync_folder(folder, data_root, any_project=True, **SYSTEM).complete
    assert list(iter_system_samples(NAME, data_root)) == []
