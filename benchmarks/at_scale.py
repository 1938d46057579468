"""Run the programs of docs/guides/scale.md on many rows: `python -m benchmarks.at_scale FOLDER`.

FOLDER has an export `data/many` of benchmarks.many_rows. Each program has to print what numpy finds
in the numbers that the export was made of, and to stay below a limit of memory: that of all of its
processes together, looked at ten times a second.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from cyclopts import App

from benchmarks.environments import CHECKOUT
from benchmarks.machine import describe_machine
from benchmarks.many_rows import RATES, loss_of, rate_of

DOCUMENT = CHECKOUT / "docs" / "guides" / "scale.md"
BEGIN, END = "<!-- scale: begin -->", "<!-- scale: end -->"
PROGRAM = re.compile(r"^## (\w+)\n\n```py\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FROM_STEP = 4_900
MOST_BYTES = 2_500_000_000

app = App(name="python -m benchmarks.at_scale", help_format="plaintext")


@app.default
def main(folder: Path, /, *, runs: int = 4_000, rows: int = 5_000, publish: bool = False) -> int:
    """Run the programs.

    Parameters
    ----------
    folder
        The folder with `data/many`.
    runs
        How many runs the export has.
    rows
        How many rows each of them has.
    publish
        Put what was found into docs/guides/scale.md.
    """
    expected = means_of(runs, rows)
    lines = [
        f"On {runs * rows:,} rows; {describe_machine()['processor']}.",
        "",
        "| tool | time | most memory of all its processes |",
        "|---|---|---|",
    ]
    for tool, code in PROGRAM.findall(DOCUMENT.read_text(encoding="utf-8")):
        printed, seconds, peak = run(code, folder)
        found = [(float(rate), float(mean)) for rate, mean in ast.literal_eval(printed)]
        assert np.allclose(found, expected, rtol=0, atol=2e-6), (tool, found, expected)
        assert peak <= MOST_BYTES, (tool, peak)
        lines.append(f"| {tool} | {seconds:.0f} s | {peak / 1e6:,.0f} MB |")
        print(lines[-1], file=sys.stderr, flush=True)
    lines += ["", "```text", *(f"{rate} {mean:.6f}" for rate, mean in expected), "```"]
    text = "\n".join(lines)
    print(text)
    if publish:
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return 0


def means_of(runs: int, rows: int) -> list[tuple[float, float]]:
    """Return the mean of the last finite losses for each learning rate."""
    losses: dict[float, list[np.ndarray]] = {rate_of(number): [] for number in range(RATES)}
    for number in range(runs):
        last = loss_of(number, rows)[FROM_STEP:]
        losses[rate_of(number)].append(last[np.isfinite(last)])
    return [(rate, float(np.concatenate(found).mean())) for rate, found in sorted(losses.items())]


def run(code: str, folder: Path) -> tuple[str, float, int]:
    """Run a program; return what it prints, its seconds, and the most memory it had."""
    program = folder.resolve() / "program.py"  # it is run inside the folder
    program.write_text(code, encoding="utf-8")
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(program)], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as running:
        peak = 0
        while running.poll() is None:
            peak = max(peak, memory_of(running.pid))
            time.sleep(0.1)
        assert running.stdout is not None
        printed = running.stdout.read()
    assert running.returncode == 0, printed
    return printed, time.perf_counter() - started, peak


def memory_of(pid: int) -> int:
    """Return the bytes of a process and of all that it started, shared ones more than once."""
    children: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        children.setdefault(int(fields[1]), []).append(int(process.name))
        sizes[int(process.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    waiting, total = [pid], 0
    while waiting:
        one = waiting.pop()
        total += sizes.get(one, 0)
        waiting += children.get(one, [])
    return total


if __name__ == "__main__":
    app()
