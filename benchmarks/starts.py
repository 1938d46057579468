"""How long commands take that ask no server, beside the import of the SDK that they do without.

Rules
- Each is a whole process; the two are measured in turn.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.beside import Bench, Figure, alternate
from benchmarks.environments import CHECKOUT, THIS_TOOL

if TYPE_CHECKING:
    from collections.abc import Callable

EXPORTS = 20
RECORDING = CHECKOUT / "fixtures" / "recorded" / "tiny-vision"
RECORDED = ("demo-lab", "tiny-vision")


def measure_starts(bench: Bench, rounds: int) -> list[Figure]:
    """Measure the command without arguments, its help, and the status of a number of exports."""
    data_root = bench.new_folder()
    source = f"replay:{RECORDING}"
    for number in range(EXPORTS):
        name = ("--name", f"export-{number}", "--data-root", str(data_root), "--quiet")
        bench.run(THIS_TOOL, *RECORDED, *name, "--source", source)

    def started(*arguments: str, code: int = 0) -> Callable[[], float]:
        return lambda: bench.run(THIS_TOOL, *arguments, code=code).seconds

    works = {
        "no arguments": started(code=2),
        "`--help`": started("--help"),
        f"`status` of {EXPORTS} exports": started("status", "--data-root", str(data_root)),
    }
    figures = [
        alternate(work, 0.3, "`import wandb`", run, lambda: bench.import_sdk(THIS_TOOL), rounds)
        for work, run in works.items()
    ]
    shutil.rmtree(data_root)
    return figures
