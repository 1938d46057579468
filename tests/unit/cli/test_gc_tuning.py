"""Garbage collection: the command's own process holds it off, a caller's is left as it is."""

import gc
import subprocess
import sys
from pathlib import Path

from dr_wandb.cli import run
from tests.support.checkout import RECORDING

OWN_PROCESS = """
import gc
from dr_wandb.cli import gc_tuning

default = gc.get_threshold()[0]
gc_tuning.enable()
assert gc.get_threshold()[0] > 10 * default
with gc_tuning.paused():
    assert not gc.isenabled()
assert gc.isenabled(), "a long sync would never be rid of its garbage"
frozen = gc.get_freeze_count()
assert frozen > 1000
try:
    with gc_tuning.paused():
        raise OSError
except OSError:
    assert gc.isenabled()
kept = [[] for _ in range(1000)]
gc_tuning.freeze_at_exit()
assert gc.get_freeze_count() >= frozen + 1000
"""


def test_own_process_looks_for_garbage_again_when_the_source_is_open() -> None:
    subprocess.run([sys.executable, "-c", OWN_PROCESS], check=True)


def test_process_of_a_caller_is_left_as_it_is(tmp_path: Path) -> None:
    """What a notebook held when it called the command would never have been freed."""
    before = (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold())
    arguments = ["--source", f"replay:{RECORDING}", "--data-root", str(tmp_path), "--quiet"]
    assert run(["demo-lab", "tiny-vision", "--name", "n", "--mode", "history", *arguments]) == 0
    assert (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()) == before
