"""Laws of long lists: a cut list names the true number, and a whole one loses nothing."""

import re

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.core.contract.cut_list import MOST_LISTED, headed
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.inspect.doubts import AbsenceKind, Doubt, DoubtKind
from dr_wandb.core.inspect.holdings import Comparison, HeldRun, UnheldRun, describe_comparison
from dr_wandb.core.inspect.status import ExportStatus, describe_status
from dr_wandb.core.inspect.verify import FindingKind, Findings, VerifyReport, describe_report
from dr_wandb.core.sync.describe import describe_changes, describe_plan
from dr_wandb.core.sync.plan import RunAction, RunPlan, SyncPlan
from dr_wandb.core.sync.plan_kinds import PlanKind

REST = "--all"
HEAD = re.compile(r"(?P<title>[^':]+): (?P<number>[\d,]+) runs?(?P<counted>; --all)?")
MORE = re.compile(r" +\.\.\. and ([\d,]+) more; --all")

sizes = st.integers(0, 40) | st.integers(995, 1005)
FAILURE = RunFailure(kind=RunFailureKind.SERVER_ERROR, reason="no")


def number_in(text: str) -> int:
    return int(text.replace(",", ""))


def ids(size: int, prefix: str = "r") -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(size))


def check_cut(lines: tuple[str, ...], *, lists: int) -> None:
    """Check each list: its head has the number of the listed members and of those that are cut."""
    heads = [(index, found) for index, line in enumerate(lines) if (found := HEAD.fullmatch(line))]
    assert len(heads) == lists
    for start, found in heads:
        listed = cut = 0
        for line in lines[start + 1 :]:
            if more := MORE.fullmatch(line):
                cut = number_in(more[1])
            elif line.startswith("  '"):
                listed += 1
            else:
                break
        assert listed <= MOST_LISTED
        if found["counted"]:
            assert listed == cut == 0
        else:
            assert listed + cut == number_in(found["number"])
            assert listed == min(MOST_LISTED, number_in(found["number"]))


def named_in(lines: tuple[str, ...]) -> list[str]:
    return [line.split("'")[1] for line in lines if line.lstrip().startswith("'")]


@given(st.lists(st.integers()), st.integers(0, 12), st.sampled_from([None, REST]))
def test_listed_and_more_are_all_members(members: list[int], most: int, rest: str | None) -> None:
    head, *lines = headed("title", members, str, rest, most=most)
    assert head.startswith(f"title: {len(members)} run")
    more = [number_in(found[1]) for line in lines if (found := MORE.fullmatch(line))]
    listed = [int(line) for line in lines[: len(lines) - len(more)]]
    if rest is None:
        assert (listed, more) == (members, [])
    elif most:
        assert listed == members[:most]
        assert sum(more) == len(members) - len(listed)
    else:
        assert (listed, more) == ([], [])
        assert head.endswith(f"; {REST}") == bool(members)


@given(st.dictionaries(st.sampled_from(list(RunAction)), sizes), sizes)
def test_plan_names_or_counts_every_run(numbers: dict[RunAction, int], failed: int) -> None:
    plan = SyncPlan(
        runs=tuple(
            RunPlan(run_id=run_id, action=action, kind=PlanKind.ROWS, reason="why")
            for action, number in numbers.items()
            for run_id in ids(number, action)
        ),
        failures=tuple(
            FailedRun(run_id=run_id, kind=FAILURE.kind, reason="no") for run_id in ids(failed)
        ),
    )
    check_cut(describe_plan(plan, rest=REST), lists=sum(map(bool, [*numbers.values(), failed])))
    whole = describe_plan(plan)
    everything = [run.run_id for run in plan.runs] + [run.run_id for run in plan.failures]
    assert sorted(named_in(whole)) == sorted(everything)
    assert not any(REST in line for line in whole)


@given(sizes, sizes, sizes, sizes)
def test_comparison_names_or_counts_every_run(
    held: int, partly: int, absent: int, gone: int
) -> None:
    doubt = Doubt(kind=DoubtKind.ALIVE, reason="still running")
    comparison = Comparison(
        name="n",
        address="host",
        compared_at="now",
        report=VerifyReport(name="n", files={}),
        fully_exported=tuple(HeldRun(run_id=run_id) for run_id in ids(held, "h")),
        not_fully_exported=tuple(
            HeldRun(run_id=run_id, reasons=(doubt,)) for run_id in ids(partly, "p")
        ),
        not_exported=tuple(
            UnheldRun(run_id=run_id, kind=AbsenceKind.NEW, reason="new")
            for run_id in ids(absent, "a")
        ),
        gone_upstream=tuple(HeldRun(run_id=run_id, reasons=(doubt,)) for run_id in ids(gone, "g")),
    )
    cut, whole = describe_comparison(comparison, rest=REST), describe_comparison(comparison)
    check_cut(cut, lists=1 + sum(map(bool, (partly, absent, gone))))
    expected = [*ids(partly, "p"), *ids(absent, "a"), *ids(gone, "g"), *ids(held, "h")]
    assert named_in(whole) == expected, "fully exported runs are last"


@given(st.lists(sizes, min_size=5, max_size=5))
def test_status_names_or_counts_every_run(numbers: list[int]) -> None:
    failed, alive, missing, out_of_scope, metadata = numbers
    status = ExportStatus(
        name="n",
        folder="data/n",
        failed=dict.fromkeys(ids(failed, "f"), FAILURE),
        metadata_failed=dict.fromkeys(ids(metadata, "m"), FAILURE),
        alive=ids(alive, "a"),
        missing=dict.fromkeys(ids(missing, "g"), "now"),
        out_of_scope=dict.fromkeys(ids(out_of_scope, "o"), "now"),
    )
    cut = tuple(line.removeprefix("  ") for line in describe_status(status, rest=REST))
    check_cut(cut, lists=sum(map(bool, numbers)))
    whole = named_in(describe_status(status))
    parts = [ids(failed, "f"), ids(metadata, "m"), ids(alive, "a"), ids(missing, "g")]
    assert whole == [run_id for part in [*parts, ids(out_of_scope, "o")] for run_id in part]


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 30), min_size=1))
def test_report_names_or_counts_every_finding(numbers: dict[str, int]) -> None:
    bounded, every = Findings(), Findings(None)
    for findings in (bounded, every):
        for file, number in numbers.items():
            for line in range(number):
                findings.add(FindingKind.LINE, file, "is bad", line)

    def described(findings: Findings, rest: str | None) -> tuple[str, ...]:
        report = VerifyReport(name="n", files={}, findings=findings.all())
        return describe_report(report, rest=rest)

    assert sum("is bad" in line for line in described(every, None)) == sum(numbers.values())
    lines = described(bounded, REST)
    for file, number in numbers.items():
        listed = sum(line.startswith(f"{file} line") for line in lines)
        more = [line for line in lines if line.startswith(f"{file}: and ")]
        assert listed == min(number, MOST_LISTED)
        assert sum(int(line.split()[2]) for line in more) == number - listed
        assert all(line.endswith(f"; {REST}") for line in more)
    assert not any(REST in line for line in described(bounded, None))


@given(sizes, st.booleans())
def test_changes_without_their_fields_are_one_line(size: int, since: bool) -> None:
    changes = SyncChanges(at="2026-01-01T00:00:00Z", new=ids(size), missing=ids(size, "m"))
    (line,) = describe_changes(changes, since=since, fields=False)
    assert line == describe_changes(changes, since=since)[0]
