"""Write results as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from benchmarks.cases import MORE_ROWS, MORE_RUNS, OFFLINE, Step
from benchmarks.environments import THIS_TOOL
from benchmarks.goals import Line, judge, megabytes, seconds
from benchmarks.offline_goals import judge_offline, share_of_parsing
from benchmarks.results import Measurement, Results


def report(results: Results) -> str:
    """Return the whole report; parts of which nothing was measured are left out."""
    sections = [
        _surroundings(results),
        _section("Compared with dr-wandb 3.0.3", _goals(judge(results) + judge_offline(results))),
        _section("Compared with the floor", _floors(results)),
        _section("More rows", _more_rows(results)),
        _section("More runs, metadata", _more_runs(results)),
        _section("Offline files", _offline(results)),
        _section("All measurements", _all(results)),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def times(ratio: float) -> str:
    """Spell a ratio."""
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def _surroundings(results: Results) -> str:
    parts = [f"{name}: {value}" for name, value in results.machine.items()]
    tools = [
        f"{tool.name}: "
        + ", ".join(f"{name} {version}" for name, version in tool.versions.items() if version)
        for tool in results.tools
    ]
    rounds = f"medians of {results.repeat}" if results.repeat > 1 else "one round"
    lines = [f"Measured on {results.date}, {rounds}.", *parts, *tools]
    if results.scale != 1:
        lines.append(f"**Scale {results.scale}**: the goals are meant for scale 1.")
    return "  \n".join(lines)


def _section(title: str, table: list[str]) -> str:
    return "\n".join([f"### {title}", "", *table]) if table else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *body] if body else []


def _goals(lines: list[Line]) -> list[str]:
    heads = ("work", "this tool", "3.0.3", "ratio", "goal", "met")
    rows = (
        (
            line.work,
            line.ours,
            line.theirs,
            "" if line.ratio is None else times(line.ratio),
            line.goal,
            "yes" if line.met else "**no**",
        )
        for line in lines
    )
    return _table(heads, rows)


def _name(found: Measurement) -> str:
    work = found.workload
    size = f"{work.rows:,} rows" if work.rows else f"{work.runs:,} runs"
    summaries = " with summaries" if work.summaries else ""
    return f"{found.case}, {size}{summaries}, {found.step}"


def _floors(results: Results) -> list[str]:
    heads = (
        "work",
        "this tool",
        "floor",
        "times the floor",
        "the SDK's start",
        "fetching by plain HTTP",
        "writing and fsync",
    )
    return _table(heads, _floor_rows(results))


def _floor_rows(results: Results) -> Iterator[Sequence[str]]:
    for found in results.measurements:
        if not found.floors:
            continue
        floor = median(one.seconds for one in found.floors)
        first = found.floors[0]
        fetch = seconds(median(one.fetch_seconds for one in found.floors))
        write = seconds(median(one.write_seconds for one in found.floors))
        yield (
            _name(found),
            seconds(found.seconds),
            seconds(floor),
            times(found.seconds / floor),
            seconds(median(one.start_seconds for one in found.floors)),
            f"{fetch}, {megabytes(first.bytes_fetched)}",
            f"{write}, {megabytes(first.bytes_written)}" if first.bytes_written else "",
        )


def _pairs(results: Results, case: str) -> Iterator[tuple[Measurement, Measurement]]:
    cold = results.of_case(case, THIS_TOOL, Step.COLD)
    return zip(cold, results.of_case(case, THIS_TOOL, Step.AGAIN), strict=True)


_MEMORY_AND_NOTHING_NEW = ("peak memory", "nothing new", "peak memory")


def _memory_and_nothing_new(cold: Measurement, again: Measurement) -> tuple[str, str, str]:
    return megabytes(cold.peak_bytes), seconds(again.seconds), megabytes(again.peak_bytes)


def _more_rows(results: Results) -> list[str]:
    heads = (
        "rows",
        "first export",
        "for each million",
        *_MEMORY_AND_NOTHING_NEW,
        "history.jsonl",
    )
    rows = (
        (
            f"{cold.workload.rows:,}",
            seconds(cold.seconds),
            seconds(cold.seconds * 1e6 / cold.workload.rows),
            *_memory_and_nothing_new(cold, again),
            megabytes(cold.samples[0].file_bytes["history.jsonl"]),
        )
        for cold, again in _pairs(results, MORE_ROWS[0].name)
    )
    return _table(heads, rows)


def _more_runs(results: Results) -> list[str]:
    heads = (
        "runs",
        "first export",
        "for each thousand",
        *_MEMORY_AND_NOTHING_NEW,
        "state.json",
        "runs.jsonl",
    )
    rows = (
        (
            f"{cold.workload.runs:,}",
            seconds(cold.seconds),
            seconds(cold.seconds * 1e3 / cold.workload.runs),
            *_memory_and_nothing_new(cold, again),
            megabytes(cold.samples[0].file_bytes["state.json"]),
            megabytes(cold.samples[0].file_bytes["runs.jsonl"]),
        )
        for cold, again in _pairs(results, MORE_RUNS[0].name)
    )
    return _table(heads, rows)


def _offline(results: Results) -> list[str]:
    heads = (
        "file",
        "size",
        "records",
        "parsing alone",
        "parsing and reading",
        "first export",
        "share of the speed of parsing",
        *_MEMORY_AND_NOTHING_NEW,
        "history.jsonl",
    )
    rows = (
        (
            f"{cold.workload.rows:,} rows{' with summaries' if cold.workload.summaries else ''}",
            megabytes(cold.parsings[0].file_bytes),
            f"{cold.parsings[0].records:,}",
            seconds(cold.parsing_seconds or 0),
            seconds(cold.reading_seconds or 0),
            seconds(cold.seconds),
            f"{share_of_parsing(cold) or 0:.2f}",
            *_memory_and_nothing_new(cold, again),
            megabytes(cold.samples[0].file_bytes["history.jsonl"]),
        )
        for cold, again in _pairs(results, OFFLINE[0].name)
    )
    return _table(heads, rows)


def _all(results: Results) -> list[str]:
    heads = (
        "work",
        "tool",
        "time",
        "least to most",
        "CPU",
        "peak memory",
        "wandb-core",
        "the server's CPU",
        "requests: listing, of runs, files",
    )
    return _table(heads, map(_details, results.measurements))


def _details(found: Measurement) -> Sequence[str]:
    spent = sorted(sample.seconds for sample in found.samples)
    cores = [one.usage.core_peak_bytes for one in found.samples if one.usage.core_peak_bytes]
    asked = found.samples[-1].asked
    served = [one.asked.cpu_seconds for one in found.samples if one.asked]
    return (
        _name(found),
        found.tool,
        seconds(found.seconds),
        f"{spent[0]:.2f} to {spent[-1]:.2f}",
        seconds(found.median(lambda sample: sample.usage.cpu_seconds)),
        megabytes(found.peak_bytes),
        megabytes(median(cores)) if cores else "",
        seconds(median(served)) if served else "",
        f"{asked.listing}, {asked.of_runs}, {asked.downloads}" if asked else "",
    )
