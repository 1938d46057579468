"""What is measured, and what is hoped for."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from benchmarks.workloads import METADATA, Workload


class Step(StrEnum):
    """What is done with a project, one after the other."""

    COLD = "first export"
    AGAIN = "nothing new"
    LOAD = "iter_history_rows"
    LOAD_RUN = "iter_history_rows of one run"


SYNCS = (Step.COLD, Step.AGAIN)
LOADS = (Step.LOAD, Step.LOAD_RUN)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One project, and the steps that each tool does with it.

    alone: only this tool. warm_up: a round that is not counted comes first, so that the server
    has every answer in memory. floor: the floor is measured too. offline: the project is the file
    of one offline run, and what is measured beside the tool is the parsing of its records.
    """

    name: str
    workload: Workload
    steps: tuple[Step, ...] = SYNCS
    alone: bool = False
    warm_up: bool = False
    floor: bool = True
    offline: bool = False


EXPORTED = Case(
    name="exported",
    workload=Workload(runs=200, rows_per_run=5_000),
    steps=(Step.COLD, Step.AGAIN, Step.LOAD),
)
PARTLY_LIVE = Case(
    name="partly-live", workload=Workload(runs=200, rows_per_run=5_000, live_rows=0.1)
)
LATENCY = Case(
    name="latency",
    workload=Workload(runs=200, rows_per_run=100, live_runs=0.1, latency_seconds=0.05),
)
RUNS = Case(
    name="metadata",
    workload=Workload(runs=5_000, rows_per_run=1_000, mode=METADATA),
    warm_up=True,
)
SPARSE = Case(
    name="sparse",
    workload=Workload(runs=3, rows_per_run=1_000, step_stride=2_000, live_rows=1.0),
    steps=(Step.COLD,),
    floor=False,
)
ONE_RUN = Case(
    name="one-run",
    workload=Workload(runs=500, rows_per_run=10_000),
    steps=(Step.COLD, Step.LOAD, Step.LOAD_RUN),
    alone=True,
    floor=False,
)
LONG_RUN = Case(name="long-run", workload=Workload(runs=1, rows_per_run=2_000_000), alone=True)

MORE_ROWS = tuple(
    Case(
        name="more-rows",
        workload=Workload(runs=200, rows_per_run=rows // 200),
        alone=True,
        floor=False,
    )
    for rows in (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)
)
MORE_RUNS = tuple(
    Case(
        name="more-runs",
        workload=Workload(runs=runs, rows_per_run=1_000, mode=METADATA),
        alone=True,
        warm_up=True,
        floor=False,
    )
    for runs in (1_000, 10_000, 50_000)
)
OFFLINE = tuple(
    Case(
        name="offline",
        workload=Workload(runs=1, rows_per_run=rows, metrics=5, summaries=summaries),
        alone=True,
        floor=False,
        offline=True,
    )
    for rows, summaries in ((250_000, False), (1_000_000, False), (250_000, True))
)

ALL_CASES = (
    EXPORTED,
    PARTLY_LIVE,
    LATENCY,
    RUNS,
    SPARSE,
    ONE_RUN,
    LONG_RUN,
    *MORE_ROWS,
    *MORE_RUNS,
    *OFFLINE,
)
CASE_NAMES = tuple(dict.fromkeys(case.name for case in ALL_CASES))


def select_cases(names: list[str] | None, scale: float) -> list[Case]:
    """Return the cases of these names, or all, with projects of another size."""
    unknown = sorted(set(names or ()) - set(CASE_NAMES))
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}; there are {', '.join(CASE_NAMES)}")
    return [
        msgspec.structs.replace(case, workload=case.workload.scaled(scale))
        for case in ALL_CASES
        if not names or case.name in names
    ]
