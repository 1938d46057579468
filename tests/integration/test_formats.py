"""`--format` and `--drop-format`, against the stand-in server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.parquet_exports import lines_in

if TYPE_CHECKING:
    from tests.support.command import Command
    from tests.support.server import Project, Run


def build(project: Project) -> Run:
    """Build two runs, and return the one that is alive."""
    alive, exported = project.add_run("alive"), project.add_run("exported")
    for run in (alive, exported):
        run.log_all({"loss": 1 / (step + 1), "text": "ü"} for step in range(9))
    exported.finish()
    exported.export_parquet()
    return alive


def test_each_format_is_made_of_the_other_without_asking_for_rows(
    project: Project, command: Command
) -> None:
    build(project)
    lines = (command.history().folder / "history.jsonl").read_bytes()
    both = command.sync("--format", "parquet")
    assert both.code == 0
    assert not both.asked
    assert lines_in(both.folder) == lines
    alone = command.sync("--drop-format", "jsonl")
    assert alone.code == 0
    assert not (alone.folder / "history.jsonl").exists()
    again = command("sync", "n")
    assert again.code == 0
    assert lines_in(alone.folder) == lines
    back = command.sync("--format", "jsonl", "--drop-format", "parquet")
    assert not back.asked
    assert (back.folder / "history.jsonl").read_bytes() == lines
    assert not (back.folder / "parquet").exists()


def test_dry_run_says_which_formats_are_made_and_dropped(
    project: Project, command: Command
) -> None:
    """It said nothing of formats, though a dropped one takes its files along."""
    build(project)
    folder = command.history().folder
    size = (folder / "history.jsonl").stat().st_size
    flags = ("--format", "parquet", "--drop-format", "jsonl", "--dry-run")
    planned = command.sync(*flags)
    assert "make parquet: of 18 held rows, without a request\n" in planned.stdout
    assert "drop jsonl: its files have " in planned.stdout
    as_json = json.loads(command.sync(*flags, "--json").stdout)
    assert as_json["formats"] == [
        {"format": "parquet", "action": "make", "rows": 18, "bytes": 0},
        {"format": "jsonl", "action": "drop", "rows": 18, "bytes": size},
    ]
    assert (folder / "history.jsonl").exists()
    assert not (folder / "parquet").exists()
    assert json.loads(command.sync("--dry-run", "--json").stdout)["formats"] == []


def test_rows_that_never_were_lines_are_those_of_the_lines(
    project: Project, command: Command
) -> None:
    for number in range(3):
        run = project.add_run(f"exported-{number}")
        run.log_all({"loss": 1 / (step + 1), "text": "ü", "n": {"a": step}} for step in range(40))
        run.finish()
        run.export_parquet(files=1 + number)
    lines = (command.history(name="lines").folder / "history.jsonl").read_bytes()
    alone = command.history("--format", "parquet")
    assert alone.code == 0
    assert lines_in(alone.folder) == lines
    assert command("verify", "n").code == 0
    out = alone.folder.parent / "lines.jsonl"
    assert command("convert", "n", "--to", "jsonl", "--out", str(out)).code == 0
    assert out.read_bytes() == lines
    back = command.sync("--format", "jsonl")
    assert not back.asked
    assert (back.folder / "history.jsonl").read_bytes() == lines
    assert command("verify", "n").code == 0


def test_repeated_sync_brings_parquet_up_to_date(project: Project, command: Command) -> None:
    alive = build(project)
    first = command.history("--format", "parquet")
    assert first.code == 0
    assert "18 rows" in first.stderr
    alive.log({"loss": 0.5})
    assert command("sync", "n").code == 0
    lines = (command.history(name="fresh").folder / "history.jsonl").read_bytes()
    assert lines_in(first.folder) == lines
    manifest = json.loads((first.folder / "manifest.json").read_bytes())
    assert manifest["history_count"] == 19


def test_last_format_cannot_be_dropped(project: Project, command: Command) -> None:
    build(project)
    command.history()
    refused = command.sync("--drop-format", "jsonl")
    assert refused.code == 2
    assert "--drop-format jsonl would leave n without its history" in refused.stderr
    unknown = command.history("--format", "csv")
    assert unknown.code == 2
    assert "csv" in unknown.stderr
