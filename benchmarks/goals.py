"""Compare what was measured with what was hoped for. Pure: results in, lines of a table out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.cases import (
    EXPORTED,
    LATENCY,
    LONG_RUN,
    MORE_ROWS,
    ONE_RUN,
    PARTLY_LIVE,
    RUNS,
    SPARSE,
    Step,
)
from benchmarks.environments import OTHER_VERSION, THIS_TOOL
from benchmarks.results import Measurement, Results, Sample

MEGABYTE = 1_000_000


class Line(NamedTuple):
    """One line of the table. `ratio` is how many times faster, or smaller, this tool is."""

    work: str
    ours: str
    theirs: str
    ratio: float | None
    goal: str
    met: bool


class Speed(NamedTuple):
    """A step that is to be so many times faster than with 3.0.3."""

    case: str
    step: Step
    work: str
    times: float


SPEEDS = (
    Speed(EXPORTED.name, Step.COLD, "{rows:,} rows, all exported to Parquet, first export", 25),
    Speed(
        PARTLY_LIVE.name,
        Step.COLD,
        "{rows:,} rows, the last 10 % of each run live, first export",
        12,
    ),
    Speed(EXPORTED.name, Step.AGAIN, "{rows:,} rows, nothing new", 45),
    Speed(
        LATENCY.name,
        Step.COLD,
        "{runs:,} runs of {rows_per_run} rows, 50 ms latency, 10 % of them live",
        10,
    ),
    Speed(RUNS.name, Step.COLD, "{runs:,} runs of metadata, first export", 2),
    Speed(RUNS.name, Step.AGAIN, "{runs:,} runs of metadata, nothing new", 2),
    Speed(EXPORTED.name, Step.LOAD, "`iter_history_rows` over {rows:,} rows", 10),
)

MOST_MEGABYTES = {Step.COLD: 400, Step.AGAIN: 200}
MOST_GROWTH = 1.2
MOST_PAGES = 60
ONE_RUN_TIMES = 100
"""How many times faster one of 500 runs is to be loaded than all of them."""


def describe(pattern: str, found: Measurement) -> str:
    """Put the size of a project into words."""
    work = found.workload
    return pattern.format(runs=work.runs, rows=work.rows, rows_per_run=work.rows_per_run)


def seconds(value: float) -> str:
    """Spell a time: three digits."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def milliseconds(value: float) -> str:
    """Spell a short time."""
    return f"{1000 * value:.1f} ms"


def megabytes(value: float) -> str:
    """Spell a size in millions of bytes, a small one in thousands."""
    if value < MEGABYTE:
        return f"{value / 1000:.1f} kB"
    return f"{value / MEGABYTE:,.0f} MB" if value >= 10 * MEGABYTE else f"{value / MEGABYTE:.1f} MB"


def judge(results: Results) -> list[Line]:
    """Return a line for each goal that something was measured for."""
    return [
        *_speeds(results),
        *_one_run(results),
        *_memory(results),
        *_memory_growth(results),
        *_long_run(results),
        *_sparse(results),
        *_requests(results),
    ]


def _pair(results: Results, case: str, step: Step) -> tuple[Measurement | None, Measurement | None]:
    return results.find(case, THIS_TOOL, step), results.find(case, OTHER_VERSION, step)


def compared(results: Results) -> Iterator[tuple[Speed, Measurement, Measurement]]:
    """Give the goals of speed for which both tools were measured."""
    for speed in SPEEDS:
        ours, theirs = _pair(results, speed.case, speed.step)
        if ours is not None and theirs is not None:
            yield speed, ours, theirs


def _speeds(results: Results) -> Iterator[Line]:
    for speed, ours, theirs in compared(results):
        ratio = theirs.seconds / ours.seconds
        yield Line(
            describe(speed.work, ours),
            seconds(ours.seconds),
            _with_loss(seconds(theirs.seconds), theirs),
            ratio,
            f"≥ {speed.times} times faster",
            ratio >= speed.times,
        )


def _one_run(results: Results) -> Iterator[Line]:
    every, _ = _pair(results, ONE_RUN.name, Step.LOAD)
    one, _ = _pair(results, ONE_RUN.name, Step.LOAD_RUN)
    if every is not None and one is not None:
        ratio = every.seconds / one.seconds
        yield Line(
            describe("`iter_history_rows(run_ids=)` of one of {runs:,} runs, {rows:,} rows", one),
            milliseconds(one.seconds),
            "",
            ratio,
            f"≥ {ONE_RUN_TIMES} times faster than all rows, which take {seconds(every.seconds)}",
            ratio >= ONE_RUN_TIMES,
        )


def _with_loss(text: str, theirs: Measurement) -> str:
    missing = theirs.missing_rows
    if not missing:
        return text
    wrong = "missing" if missing > 0 else "too many"
    return f"{text} (**{abs(missing):,} of {theirs.workload.rows:,} rows {wrong}**)"


def _memory(results: Results) -> Iterator[Line]:
    for step, most in MOST_MEGABYTES.items():
        ours, theirs = _pair(results, EXPORTED.name, step)
        if ours is not None:
            yield _peak(ours, theirs, describe("peak memory, {rows:,} rows, ", ours) + step, most)


def _peak(ours: Measurement, theirs: Measurement | None, work: str, most: int) -> Line:
    return Line(
        work,
        megabytes(ours.peak_bytes),
        "" if theirs is None else megabytes(theirs.peak_bytes),
        None if theirs is None else theirs.peak_bytes / ours.peak_bytes,
        f"≤ {most} MB",
        ours.peak_bytes <= most * MEGABYTE,
    )


def _memory_growth(results: Results) -> Iterator[Line]:
    for step in MOST_MEGABYTES:
        sizes = results.of_case(MORE_ROWS[0].name, THIS_TOOL, step)
        yield from growth("peak memory, {rows:,} rows, ", sizes)


def growth(pattern: str, sizes: Sequence[Measurement]) -> Iterator[Line]:
    """Give the goal for the memory of the largest project and of one with a quarter of its rows."""
    by_rows = {one.workload.rows: one for one in sizes}
    most = by_rows.get(max(by_rows, default=0))
    quarter = by_rows.get(max(by_rows, default=0) // 4)
    if most is not None and quarter is not None:
        yield Line(
            describe(pattern, most) + most.step,
            megabytes(most.peak_bytes),
            "",
            None,
            f"≤ {MOST_GROWTH} times that of {quarter.workload.rows:,} rows,"
            f" which is {megabytes(quarter.peak_bytes)}",
            most.peak_bytes <= MOST_GROWTH * quarter.peak_bytes,
        )


def _long_run(results: Results) -> Iterator[Line]:
    for step, most in MOST_MEGABYTES.items():
        ours, _ = _pair(results, LONG_RUN.name, step)
        if ours is not None:
            line = _peak(ours, None, describe("one run of {rows:,} rows, ", ours) + step, most)
            yield line._replace(ours=f"{line.ours}, {seconds(ours.seconds)}")


def _sparse(results: Results) -> Iterator[Line]:
    ours, theirs = _pair(results, SPARSE.name, Step.COLD)
    if ours is None:
        return
    stride = ours.workload.step_stride
    pattern = f"{{runs}} live runs of {{rows_per_run:,}} rows, {stride:,} steps apart"
    pages = ours.median(_pages)
    yield Line(
        describe(pattern, ours),
        f"{pages:.0f} history requests",
        "" if theirs is None else _with_loss(f"{theirs.median(_pages):,.0f}", theirs),
        None if theirs is None else theirs.median(_pages) / pages,
        f"≤ {MOST_PAGES} history requests",
        pages <= MOST_PAGES,
    )


def _requests(results: Results) -> Iterator[Line]:
    questions = (
        (EXPORTED.name, Step.AGAIN, "requests for an unchanged terminal run", 0, 0),
        (EXPORTED.name, Step.COLD, "requests for a terminal run's history, exported, first", 1, 1),
        (LATENCY.name, Step.AGAIN, "requests for a running run with nothing new", 0, 0),
    )
    for case, step, work, queries, files in questions:
        ours, theirs = _pair(results, case, step)
        if ours is None:
            continue
        found = ours.median(_queries) / ours.workload.runs
        loaded = ours.median(_downloads) / ours.workload.runs
        yield Line(
            work,
            _spell_requests(ours),
            "" if theirs is None else _spell_requests(theirs),
            None,
            "0" if not queries else "1 GraphQL + its files",
            found <= queries and loaded <= files,
        )


def _spell_requests(found: Measurement) -> str:
    # A case with running runs asks about these only: the others are terminal and known.
    count = found.workload.running_count or found.workload.runs
    queries, files = found.median(_queries) / count, found.median(_downloads) / count
    if not queries and not files:
        return "0"
    noun = "file" if files == 1 else "files"
    return f"{queries:.3g} GraphQL" + (f" + {files:.3g} {noun}" if files else "")


def _pages(sample: Sample) -> int:
    return sample.asked.history_pages if sample.asked else 0


def _queries(sample: Sample) -> int:
    return sample.asked.of_runs if sample.asked else 0


def _downloads(sample: Sample) -> int:
    return sample.asked.downloads if sample.asked else 0
