"""The command: `python -m benchmarks`."""

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from benchmarks.cases import select_cases
from benchmarks.chart import draw
from benchmarks.environments import (
    CHECKOUT,
    OTHER_VERSION,
    THIS_TOOL,
    Tool,
    make_other_tool,
    make_this_tool,
    tool_of,
)
from benchmarks.machine import describe_machine
from benchmarks.offline import measure_offline
from benchmarks.results import Results
from benchmarks.rounds import measure_case
from benchmarks.tables import report

BUILD = CHECKOUT / "build" / "benchmarks"
DOCUMENT = CHECKOUT / "docs" / "performance.md"
CHART = CHECKOUT / "docs" / "performance.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
Flag = Parameter(negative="")

app = App(name="python -m benchmarks", help_format="plaintext")


@app.default
def main(
    *,
    only: Annotated[list[str] | None, Flag] = None,
    scale: float = 1.0,
    repeat: int = 3,
    out: Path = BUILD / "results",
    cache: Path = BUILD,
    this_tool: Path | None = None,
    other_tool: Path | None = None,
    alone: Annotated[bool, Flag] = False,
    publish: Annotated[bool, Flag] = False,
) -> int:
    """Measure this tool, dr-wandb 3.0.3 and the floor against a stand-in server, and on a file.

    Parameters
    ----------
    only
        Measure this case. Repeat it for several.
    scale
        Size of the projects: 0.05 is a twentieth.
    repeat
        Number of rounds; the tables show medians.
    out
        Where results.json, results.md and chart.svg go.
    cache
        Where environments are made, and used again, and where the tools work.
    this_tool
        A Python that has this tool, instead of one with the checkout as it is now.
    other_tool
        A Python that has dr-wandb 3.0.3, instead of one made with pip.
    alone
        Do not measure dr-wandb 3.0.3.
    publish
        Put tables and chart into docs/performance.md. Only for everything at full size.
    """
    if publish and (alone or only or scale != 1):
        raise SystemExit("--publish is for everything, at full size")
    cases = select_cases(only, scale)
    out.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    tools = _tools(cache, this_tool, other_tool, alone)
    results = Results(
        date=datetime.now(UTC).date().isoformat(),
        scale=scale,
        repeat=repeat,
        machine=describe_machine(),
        tools=tools,
    )
    below = Path(mkdtemp(prefix="work-", dir=cache.absolute()))
    try:
        for case in cases:
            results.measurements += (
                measure_offline(case, tools[0], repeat, below)
                if case.offline
                else measure_case(case, tools, repeat, below)
            )
            save(results, out)
    finally:
        shutil.rmtree(below, ignore_errors=True)
    text = report(results)
    print(text)
    if publish:
        publish_results(results)
    return _loss(results)


def _tools(cache: Path, this_tool: Path | None, other_tool: Path | None, alone: bool) -> list[Tool]:
    ours = tool_of(THIS_TOOL, this_tool) if this_tool else make_this_tool(cache)
    if alone:
        return [ours]
    if other_tool:
        return [ours, tool_of(OTHER_VERSION, other_tool)]
    return [ours, make_other_tool(cache, ours.versions["wandb"])]


def save(results: Results, out: Path) -> None:
    """Write what was measured so far."""
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=2)
    (out / "results.json").write_bytes(encoded + b"\n")
    (out / "results.md").write_text(report(results))
    chart = draw(results)
    if chart is not None:
        (out / "chart.svg").write_text(chart)


def publish_results(results: Results) -> None:
    """Put the tables between the marks of the document, and the chart beside it."""
    document = DOCUMENT.read_text()
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{BEGIN} and {END} are missing in {DOCUMENT}")
    DOCUMENT.write_text(f"{before}{begin}\n\n{report(results)}\n{end}{after}")
    chart = draw(results)
    if chart is not None:
        CHART.write_text(chart)


def _loss(results: Results) -> int:
    """Say aloud where rows are missing; return the exit code."""
    wrong = [one for one in results.measurements if one.missing_rows]
    for one in wrong:
        print(
            f"{one.case}: {one.missing_rows} rows are missing in the export of {one.tool}",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    app()
