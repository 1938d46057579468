"""A run of the benchmarks that is too small to say how fast anything is."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from benchmarks.__main__ import BEGIN, DOCUMENT, END, app
from benchmarks.beside import BEFORE, Bench, Figure, line_of
from benchmarks.cases import ALL_CASES, EXPORTED, OFFLINE, SPARSE, Step
from benchmarks.chart import draw
from benchmarks.datasets import MACHINE, MANY_LINES, measure_memory, measure_speed
from benchmarks.environments import OTHER_VERSION, THIS_TOOL, tool_of
from benchmarks.goals import judge
from benchmarks.listings import measure_listings
from benchmarks.log_size import measure_log
from benchmarks.measuring import Usage
from benchmarks.offline_goals import judge_offline
from benchmarks.results import Measurement, Parsing, Results, Sample
from benchmarks.rounds import WrongExportError, measure_case
from benchmarks.starts import measure_starts
from benchmarks.tables import report

USAGE = Usage(seconds=1, cpu_seconds=1, peak_bytes=100_000_000, core_peak_bytes=None)


def measure(place: Path, *arguments: str) -> tuple[int, Results]:
    """Call the command with this interpreter's tool; return its exit code and its results."""
    folders = ("--out", str(place / "out"), "--cache", str(place / "cache"))
    code = app(
        [*arguments, "--this-tool", sys.executable, "--repeat", "1", *folders],
        result_action="return_value",
    )
    text = (place / "out" / "results.json").read_bytes()
    assert list((place / "cache").iterdir()) == []
    return code, msgspec.json.decode(text, type=Results)


def useless_tool(folder: Path) -> Path:
    """Make a tool that exports nothing, and says that all is well; return its interpreter."""
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    script = folder / "wandb-export"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    return folder / "python"


def timed(ours: float, theirs: float, *, missing: int = 0) -> Results:
    """Return results in which the two tools needed so many seconds for the first export."""
    rows = EXPORTED.workload.rows

    def found(tool: str, seconds: float, row_lines: int) -> Measurement:
        sample = Sample(
            seconds=seconds,
            usage=USAGE,
            asked=None,
            run_lines=EXPORTED.workload.runs,
            row_lines=row_lines,
            file_bytes={},
        )
        return Measurement(
            case=EXPORTED.name,
            workload=EXPORTED.workload,
            tool=tool,
            step=Step.COLD,
            samples=[sample],
        )

    return Results(
        date="2026-01-01",
        scale=1,
        repeat=1,
        machine={"processor": "abacus, 2 cores"},
        tools=[],
        measurements=[found(THIS_TOOL, ours, rows), found(OTHER_VERSION, theirs, rows - missing)],
    )


def test_benchmarks_measure_this_tool_and_the_floor(tmp_path: Path) -> None:
    code, results = measure(tmp_path, "--only", "exported", "--scale", "0.01", "--alone")
    assert code == 0
    cold = results.find("exported", THIS_TOOL, Step.COLD)
    again = results.find("exported", THIS_TOOL, Step.AGAIN)
    load = results.find("exported", THIS_TOOL, Step.LOAD)
    assert cold is not None
    assert again is not None
    assert load is not None
    assert {one.samples[0].row_lines for one in (cold, again, load)} == {10_000}
    first, second = cold.samples[0].asked, again.samples[0].asked
    assert first is not None
    assert second is not None
    assert (first.of_runs, first.downloads) == (2, 2)
    assert (second.of_runs, second.downloads) == (0, 0)
    assert cold.floors[0].bytes_fetched == first.bytes_sent
    assert cold.floors[0].bytes_written == sum(cold.samples[0].file_bytes.values())
    assert cold.floors[0].start_seconds > 0
    assert "10,000 rows" in (tmp_path / "out" / "results.md").read_text()


def test_benchmarks_measure_the_loading_of_one_run(tmp_path: Path) -> None:
    code, results = measure(tmp_path, "--only", "one-run", "--scale", "0.005", "--alone")
    assert code == 0
    every = results.find("one-run", THIS_TOOL, Step.LOAD)
    one = results.find("one-run", THIS_TOOL, Step.LOAD_RUN)
    assert every is not None
    assert one is not None
    assert (every.samples[0].row_lines, one.samples[0].row_lines) == (20_000, 10_000)
    [line] = [line for line in judge(results) if "run_ids" in line.work]
    assert line.ratio == every.seconds / one.seconds
    assert line.met is (line.ratio >= 100)


def test_benchmarks_measure_the_export_of_an_offline_file(tmp_path: Path) -> None:
    code, results = measure(tmp_path, "--only", "offline", "--scale", "0.001", "--alone")
    assert code == 0
    cold = results.of_case("offline", THIS_TOOL, Step.COLD)
    again = results.of_case("offline", THIS_TOOL, Step.AGAIN)
    for found in (cold, again):
        assert [one.samples[0].row_lines for one in found] == [250, 1_000, 250]
        assert [one.samples[0].run_lines for one in found] == [1, 1, 1]
    assert [one.parsings[0].records for one in cold] == [253, 1_003, 753]
    assert all(min(one.parsings[0].seconds, one.parsings[0].read_seconds) > 0 for one in cold)
    assert all(200 * one.workload.rows < one.parsings[0].file_bytes for one in cold)
    assert [line.work for line in judge_offline(results)] == [
        "offline file of 1,000 rows, first export",
        "offline file of 250 rows with summaries, first export",
        "peak memory, offline file of 1,000 rows, first export",
        "peak memory, offline file of 1,000 rows, nothing new",
    ]
    assert "| 250 rows with summaries |" in (tmp_path / "out" / "results.md").read_text()


def test_benchmarks_say_it_when_the_other_tool_loses_rows(tmp_path: Path) -> None:
    """A tool that is fast since it exports nothing would have won."""
    other = useless_tool(tmp_path / "useless")
    code, results = measure(
        tmp_path, "--only", "sparse", "--scale", "0.02", "--other-tool", str(other)
    )
    assert code == 1
    assert "60 of 60 rows missing" in report(results)
    ours = results.find("sparse", THIS_TOOL, Step.COLD)
    assert ours is not None
    assert ours.samples[0].asked is not None
    assert ours.samples[0].asked.history_pages > 0


def test_benchmarks_stop_when_this_tool_exports_something_else(tmp_path: Path) -> None:
    useless = tool_of(THIS_TOOL, useless_tool(tmp_path / "useless"))
    small = msgspec.structs.replace(SPARSE, workload=SPARSE.workload.scaled(0.02))
    with pytest.raises(WrongExportError, match="0 runs and 0 rows, not 3 and 60"):
        measure_case(small, [useless], 1, tmp_path)


@pytest.mark.parametrize(("ours", "met"), [(4.0, True), (4.1, False)])
def test_goal_is_met_when_the_ratio_is_reached(ours: float, met: bool) -> None:
    results = timed(ours, 100)
    assert judge(results)[0].met is met
    assert ("**no**" in report(results)) is not met


@pytest.mark.parametrize(("seconds", "met"), [(9.0, True), (9.1, False)])
def test_offline_goal_is_met_when_it_takes_three_times_as_long_as_parsing(
    seconds: float, met: bool
) -> None:
    parsing = Parsing(
        seconds=3, read_seconds=9, records=1_000_003, file_bytes=230_000_000, usage=USAGE
    )
    results = timed(seconds, 100)
    ours = results.measurements[0]
    ours.case, ours.parsings = OFFLINE[0].name, [parsing]
    assert judge_offline(results)[0].met is met


def test_listings_are_measured_beside_another_build(tmp_path: Path) -> None:
    tools = {name: tool_of(name, Path(sys.executable)) for name in (THIS_TOOL, BEFORE)}
    seconds, memory, many = measure_listings(Bench(tmp_path, tools), 0.01, 1)
    assert min(*seconds.seconds, *seconds.others, *many.seconds) > 0
    assert [len(one) for one in (seconds.seconds, memory.seconds, memory.others)] == [1, 2, 2]
    assert min(*memory.seconds, *memory.others) > 20, "megabytes of a whole process"
    assert memory.unit == "MB"
    assert "200 small runs" in line_of(many)


def test_size_of_the_log_is_measured_beside_another_build(tmp_path: Path) -> None:
    tools = {name: tool_of(name, Path(sys.executable)) for name in (THIS_TOOL, BEFORE)}
    (size,) = measure_log(Bench(tmp_path, tools), 3)
    assert size.seconds == pytest.approx(size.others, rel=0.01), "times differ in length"
    assert 2 < size.seconds[0] < 8, "kilobytes: 30 new runs, and twice the rows of each"
    assert "3 syncs of 30 live runs" in line_of(size)


def test_other_datasets_are_measured_beside_the_history_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path, {THIS_TOOL: tool_of(THIS_TOOL, Path(sys.executable))})
    small = msgspec.structs.replace(MACHINE, runs=3, rows_per_run=10, samples=7, lines=11)
    cold, idle = measure_speed(bench, small, 1)
    assert cold.compared_with == "history alone + 6 requests x 50 ms / 10"
    assert "nothing new" in line_of(idle)
    printed = capsys.readouterr().out
    assert "s of CPU time; 3 RunConsoleLogPage, 3 RunFullHistory, 3 RunParquetHistory" in printed
    assert "s of CPU time; 2 Runs, 1 Viewer" in printed
    (memory,) = measure_memory(bench, msgspec.structs.replace(MANY_LINES, runs=2, lines=50), 1)
    assert memory.seconds[0] > 10, "millions of bytes"


def test_starts_are_measured_beside_the_import_of_the_sdk(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {THIS_TOOL: tool_of(THIS_TOOL, Path(sys.executable))})
    figures = measure_starts(bench, 1)
    assert [figure.work for figure in figures] == [
        "no arguments",
        "`--help`",
        "`status` of 20 exports",
    ]
    assert all(figure.seconds[0] < figure.others[0] for figure in figures)


@pytest.mark.parametrize(("peaks", "met"), [([150, 200, 240], True), ([150, 201, 201], False)])
def test_goal_for_memory_is_a_number_of_megabytes(peaks: list[float], met: bool) -> None:
    figure = Figure(
        work="peak",
        goal=200,
        compared_with="",
        seconds=peaks,
        others=[1, 1, 1],
        unit="MB",
        most=True,
    )
    assert figure.met is met
    assert ("**not met**" in line_of(figure)) is not met


def test_table_says_how_many_rows_the_other_tool_lost() -> None:
    assert "100 s (**7 of 1,000,000 rows missing**)" in report(timed(1, 100, missing=7)).replace(
        "100.0", "100"
    )


def test_chart_is_a_picture_of_the_ratios() -> None:
    chart = draw(timed(4, 100))
    assert chart is not None
    words = [element.text for element in ElementTree.fromstring(chart).iter()]
    assert "25×" in words


def test_scale_changes_the_size_of_every_project() -> None:
    for case in ALL_CASES:
        small = case.workload.scaled(0.1)
        assert (
            small.runs * small.rows_per_run * 10 == case.workload.runs * case.workload.rows_per_run
        )


def test_document_has_the_markers_for_the_tables() -> None:
    before, begin, rest = DOCUMENT.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin
    assert end
    assert before
    assert after
