"""The same mistake raises the same error, wherever it is made."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.cli import run
from dr_wandb.core.contract.failures import EXIT_USAGE
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.shell.inspect.doctor import diagnose
from dr_wandb.shell.inspect.verify import compare_with_source
from dr_wandb.shell.sources.offline.runs import look_into
from dr_wandb.shell.sources.opening import open_api, source_opener
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.loading import iter_history_rows, load_manifest, load_run_snapshots
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support import syncing
from tests.support.memory_source import MemorySource

GOOD: dict[str, Any] = {"entity": "entity", "project": "project", "name": "n"}


def problems_of(mistake: Callable[[], object]) -> tuple[str, ...]:
    """Return the problems that a mistake is refused with."""
    with pytest.raises(InvalidRequestError) as caught:
        mistake()
    assert caught.value.exit_code == EXIT_USAGE
    return caught.value.problems


def recording(tmp_path: Path) -> Path:
    """Record a sync of a project without runs."""
    folder = tmp_path / "recorded"
    sync(tmp_path, folder, name="other")
    return folder


def sync(tmp_path: Path, record: Path, **fields: Any) -> None:
    """Sync a project without runs, and record it."""
    request = syncing.request_for(tmp_path, **fields)
    syncing.export(MemorySource(), request, now="2026-01-01T00:00:00Z", record=record)


@pytest.mark.parametrize("name", ["../x", "a/b", "", " ", "..", "a\x00", "x" * 201, 5, None])
def test_invalid_name_is_the_same_problem_in_every_function(name: Any, tmp_path: Path) -> None:
    expected = problems_of(lambda: ExportRequest(**{**GOOD, "name": name}))
    assert len(expected) == 1
    for mistake in (
        lambda: ExportStore(name=name, data_root=tmp_path),
        lambda: load_manifest(name, tmp_path),
        lambda: load_run_snapshots(name, tmp_path),
        lambda: iter_history_rows(name, tmp_path),
    ):
        assert problems_of(mistake) == expected


@pytest.mark.parametrize("entity", ["", "a/b", " ", 5, "a\x00"])
def test_invalid_entity_is_the_same_problem_in_every_function(entity: Any, tmp_path: Path) -> None:
    expected = problems_of(lambda: ExportRequest(**{**GOOD, "entity": entity}))
    assert problems_of(lambda: diagnose(entity, None, tmp_path, 20)) == expected


@pytest.mark.parametrize("seconds", [0, -1, True, 1.5])
def test_invalid_time_limit_is_the_same_problem_in_every_function(
    seconds: Any, tmp_path: Path
) -> None:
    expected = problems_of(lambda: ExportRequest(**GOOD, timeout_seconds=seconds))
    assert problems_of(lambda: diagnose("entity", None, tmp_path, seconds)) == expected


@pytest.mark.parametrize("data_root", [5, None])
def test_data_root_that_is_no_path_is_the_same_problem_in_every_function(data_root: Any) -> None:
    expected = problems_of(lambda: ExportRequest(**{**GOOD, "data_root": data_root}))
    assert problems_of(lambda: ExportStore(name="n", data_root=data_root)) == expected


@pytest.mark.parametrize("source", ["replay:{recording}", "offline:{recording}"])
def test_run_filter_needs_the_api(source: str, tmp_path: Path) -> None:
    """A library user's run filter was dropped without a word: every run was exported."""
    named = source.format(recording=recording(tmp_path))
    request = ExportRequest(**GOOD, data_root=tmp_path, scope=RunScope(filters={"a": 1}))
    problems = problems_of(ExportEngine(request, source=source_opener(named)).export)
    assert problems == ("a run filter needs source api; the other flags work with any",)


@pytest.mark.parametrize("source", [None, "api", "replay:{recording}"])
def test_runs_of_any_project_need_offline_files(source: str | None, tmp_path: Path) -> None:
    named = source and source.format(recording=recording(tmp_path))
    request = ExportRequest(**GOOD, data_root=tmp_path, any_project=True)
    engine = ExportEngine(request, source=source_opener(named) if named else open_api)
    assert "any_project needs source offline:DIR" in problems_of(engine.plan)[0]


def test_recording_of_another_project_is_refused(tmp_path: Path) -> None:
    open_source = source_opener(f"replay:{recording(tmp_path)}")
    request = ExportRequest(**{**GOOD, "project": "elsewhere"}, data_root=tmp_path)
    problems = problems_of(ExportEngine(request, source=open_source).export)
    assert "is of entity/project, not entity/elsewhere" in problems[0]


def test_recording_inside_an_export_and_one_over_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    for folder, text in (("n/recorded", "inside the export"), ("full", "nor a recording")):
        problems = problems_of(partial(sync, tmp_path, tmp_path / folder, name="n"))
        assert text in problems[0]


def test_folder_without_offline_runs_is_refused(tmp_path: Path) -> None:
    expected = problems_of(lambda: look_into(tmp_path / "nowhere", 0))
    request = ExportRequest(**GOOD, data_root=tmp_path)
    source = source_opener(f"offline:{tmp_path / 'nowhere'}")
    assert problems_of(ExportEngine(request, source=source).export) == expected


def test_limits_of_a_comparison_are_those_of_a_request(tmp_path: Path) -> None:
    syncing.sync(MemorySource(), tmp_path, name="n")
    store = ExportStore(name="n", data_root=tmp_path)
    for limit in ({"timeout_seconds": 0}, {"max_rate": 0.0}):
        expected = problems_of(partial(ExportRequest, **GOOD, **limit))
        assert problems_of(partial(compare_with_source, store, **limit)) == expected


def test_command_prints_a_line_for_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["e", "p/q", "--name", "../x", "--max-rate", "0"]) == EXIT_USAGE
    assert capsys.readouterr().err.splitlines() == [
        "project must not have a path separator: 'p/q'",
        "name must not have a path separator: '../x'",
        "--max-rate must be above 0, not 0.0",
    ]
