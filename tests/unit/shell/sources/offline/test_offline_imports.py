"""What a sync imports: decoding takes NumPy and protobuf, and nothing else of it is heavy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.offline_folders import put, whole_run
from tests.support.syncing import NAME

SCRIPT = """
import contextlib, io, json, sys
import dr_wandb.cli
with contextlib.redirect_stdout(io.StringIO()):
    code = dr_wandb.cli.run(sys.argv[1:])
heavy = ("google.protobuf", "numpy", "pandas", "pyarrow", "requests", "wandb", "yaml")
print(json.dumps([code, [name for name in heavy if name in sys.modules]]))
"""


def imported_by(*arguments: str) -> list[str]:
    """Run the command in a process of its own and return the heavy packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return list(heavy)


@pytest.fixture
def sync(folder: Path, data_root: Path) -> tuple[str, ...]:
    """Return the arguments of a sync of a folder with one run."""
    put(folder, "a", whole_run("a"))
    place = ("--name", NAME, "--data-root", str(data_root))
    return ("entity", "project", *place, "--mode", "history", "--source", f"offline:{folder}")


def test_sync_imports_a_decoder_only_if_a_file_is_opened(
    folder: Path, sync: tuple[str, ...]
) -> None:
    assert imported_by(*sync) == ["google.protobuf", "numpy"]
    assert imported_by(*sync) == []
    assert imported_by(*sync, "--sync-mode", "full_reconcile") == ["google.protobuf", "numpy"]
    put(folder, "b", whole_run("b"))
    assert imported_by(*sync) == ["google.protobuf", "numpy"]


def test_proof_of_an_export_imports_no_decoder(data_root: Path, sync: tuple[str, ...]) -> None:
    imported_by(*sync)
    for command in ("status", "verify"):
        assert imported_by(command, NAME, "--data-root", str(data_root)) == []


def test_scan_imports_nothing_but_a_decoder(folder: Path, sync: tuple[str, ...]) -> None:
    assert imported_by("scan", str(folder)) == ["google.protobuf", "numpy"]
