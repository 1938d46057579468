"""`wandb-export artifacts`: a table of versions, and a tree of what came from what."""

from pathlib import Path

import pytest

from dr_wandb.cli import output, run
from dr_wandb.core.contract.failures import EXIT_OK, EXIT_USAGE
from tests.support import syncing
from tests.support.memory_source import MemorySource


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Return the folder of an export: raw data, of which a run made clean data, and a model."""
    source = MemorySource()
    for run_id in ("clean", "train", "eval"):
        source.add_run(run_id)
    raw = source.add_version("raw", size=2048, fileCount=1)
    cleaned = source.add_version("data", size=1024, fileCount=2)
    model = source.add_version("model", artifactType={"name": "model"})
    table = source.add_version("run-train", artifactType={"name": "run_table"})
    source.use("clean", raw)
    source.make("clean", cleaned)
    source.use("train", cleaned, "training")
    source.make("train", model)
    source.make("train", table)
    source.use("eval", model, "candidate")
    syncing.sync(source, tmp_path / "data", extra_datasets=("artifacts",))
    syncing.sync(source, tmp_path / "data", name="without")
    return tmp_path / "data"


def printed(capsys: pytest.CaptureFixture[str], data_root: Path, *flags: str) -> str:
    assert run(["artifacts", "export", "--data-root", str(data_root), *flags]) == EXIT_OK
    return capsys.readouterr().out


def test_table_has_a_line_for_each_version(
    data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, data_root).splitlines() == [
        "version   type     aliases    size  files  made by  used by",
        "data:v0   dataset  latest   1.0 kB      2  clean    train",
        "model:v0  model    latest                  train    eval",
        "raw:v0    dataset  latest   2.0 kB      1           clean",
    ]


def test_internal_versions_are_shown_if_wanted(
    data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "run-train" not in printed(capsys, data_root)
    assert "run-train:v0" in printed(capsys, data_root, "--internal")
    assert "run-train:v0" in printed(capsys, data_root, "--type", "run_table")
    only = printed(capsys, data_root, "--type", "model").splitlines()
    assert [line.split()[0] for line in only] == ["version", "model:v0"]
    run(["artifacts", "export", "--data-root", str(data_root)])
    assert capsys.readouterr().err == "not shown: 1 version that W&B made for itself (--internal)\n"


def test_tree_says_what_came_from_what(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, data_root, "--lineage", "data:v0").splitlines() == [
        "data:v0 (dataset)",
        "came from:",
        "  run clean",
        "    raw:v0 (dataset)",
        "and from it came:",
        "  run train as training",
        "    model:v0 (model)",
        "      run eval as candidate",
        "    run-train:v0 (run_table)",
    ]
    assert printed(capsys, data_root, "--lineage", "eval").splitlines() == [
        "run eval",
        "came from:",
        "  model:v0 (model) as candidate",
        "    run train",
        "      data:v0 (dataset) as training",
        "        run clean",
        "          raw:v0 (dataset)",
        "nothing that is known came from it",
    ]
    assert printed(capsys, data_root, "--lineage", "raw:latest").splitlines()[:2] == [
        "raw:v0 (dataset)",
        "came from: nothing that is known",
    ]


def test_name_that_is_not_there_is_named_with_those_that_are_near(
    data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data-root", str(data_root), "--lineage", "trian"]
    assert run(["artifacts", "export", *flags]) == EXIT_USAGE
    assert "export has no run or version 'trian'; did you mean train?" in capsys.readouterr().err


def test_export_without_artifacts_is_named(
    data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["artifacts", "without", "--data-root", str(data_root)]) == EXIT_USAGE
    assert "without has no artifacts: sync it with --with artifacts" in capsys.readouterr().err


def test_hostile_names_cannot_steer_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MemorySource()
    source.add_run("a")
    source.make("a", source.add_version("x\x1b[31m\nfalse line"))
    syncing.sync(source, tmp_path, extra_datasets=("artifacts",))
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    for flags in ((), ("--lineage", "a")):
        text = printed(capsys, tmp_path, *flags)
        assert "\x1b" not in text
        assert "x\\x1b[31m\\nfalse line:v0" in text
    assert "\x1b[31m" in printed(capsys, tmp_path, "--raw")
