"""Compare the export of an offline file with the parsing of its records alone. Pure."""

from collections.abc import Iterator

from benchmarks.cases import OFFLINE, SYNCS, Step
from benchmarks.environments import THIS_TOOL
from benchmarks.goals import Line, describe, growth, seconds
from benchmarks.results import Measurement, Results

LEAST_SHARE = 1 / 3


def judge_offline(results: Results) -> list[Line]:
    """Return a line for each goal that something was measured for."""
    return [*_speeds(results), *_memory_growth(results)]


def share_of_parsing(found: Measurement) -> float | None:
    """Return the records a second of an export, as a share of those of parsing alone."""
    alone = found.parsing_seconds
    return None if alone is None else alone / found.seconds


def _speeds(results: Results) -> Iterator[Line]:
    sizes = results.of_case(OFFLINE[0].name, THIS_TOOL, Step.COLD)
    most = max((one.workload.rows for one in sizes), default=0)
    for found in sizes:
        summaries = " with summaries" if found.workload.summaries else ""
        share = share_of_parsing(found)
        # The smaller file without summaries is there for the memory alone.
        if share is None or (found.workload.rows < most and not summaries):
            continue
        yield Line(
            describe(f"offline file of {{rows:,}} rows{summaries}, first export", found),
            f"{seconds(found.seconds)}, {share:.2f} of the speed of parsing",
            "",
            None,
            f"≥ {LEAST_SHARE:.2f} of the speed of parsing its records alone,"
            f" which takes {seconds(found.parsing_seconds or 0)}",
            share >= LEAST_SHARE,
        )


def _memory_growth(results: Results) -> Iterator[Line]:
    for step in SYNCS:
        sizes = results.of_case(OFFLINE[0].name, THIS_TOOL, step)
        plain = [one for one in sizes if not one.workload.summaries]
        yield from growth("peak memory, offline file of {rows:,} rows, ", plain)
