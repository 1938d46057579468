"""What the commands print if lists are long, in one file, so that it can be reviewed as a whole."""

from collections.abc import Iterator

from syrupy.assertion import SnapshotAssertion

from dr_wandb.core.contract.changes import ChangedRun, FieldChange, RowCount, SyncChanges
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.inspect.doubts import AbsenceKind, Doubt, DoubtKind
from dr_wandb.core.inspect.holdings import Comparison, HeldRun, UnheldRun, describe_comparison
from dr_wandb.core.inspect.shortfalls import Lag, LagKind
from dr_wandb.core.inspect.status import ExportStatus, describe_status
from dr_wandb.core.inspect.verify import FindingKind, Findings, VerifyReport, describe_report
from dr_wandb.core.sync.describe import describe_changes, describe_plan
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.plan import RunAction, RunPlan, SyncPlan
from dr_wandb.core.sync.plan_kinds import FetchKind, PlanKind
from tests.support.text_file import TextFile

NOON = "2026-01-01T12:00:00Z"
REST = "--all"
HOSTILE = "\x1b[2Jnew\u202e\nline"


def test_long_lists(snapshot: SnapshotAssertion) -> None:
    sections = {
        "--dry-run": describe_plan(plan(), rest=REST),
        "sync --all --dry-run": describe_plan(
            plan(), rest="wandb-export sync NAME --dry-run --all"
        ),
        "status NAME": describe_status(status(), rest=REST),
        "verify": describe_report(report(), rest=REST),
        "verify --against-server": describe_comparison(comparison(), rest=REST),
        "log": describe_changes(changes(), fields=False),
        "log --verbose": describe_changes(changes()),
        "diff --since --until": describe_changes(changes(), since=True, until="2026-02-01"),
    }
    text = "\n".join(
        "\n".join((f"== {title}", "", *lines, "")) for title, lines in sections.items()
    )
    assert text == snapshot(name="long_lists", extension_class=TextFile)


def ids(prefix: str, number: int) -> list[str]:
    return [f"{prefix}{index:04}" for index in range(number)]


def plan() -> SyncPlan:
    first = PartFetch(window=WHOLE_RUN, kind=FetchKind.FIRST, reason="never fetched")
    window = FetchWindow(start=4000, stop=5980)
    tail = PartFetch(window=window, kind=FetchKind.TAIL, reason="1,980 rows behind", tail=True)

    def runs(action: RunAction, kind: PlanKind, reason: str, number: int) -> Iterator[RunPlan]:
        fetches = {RunAction.NEW: {"history": first}, RunAction.REFRESH: {"history": tail}}
        for run_id in ids(action, number):
            yield RunPlan(
                run_id=run_id,
                action=action,
                kind=kind,
                reason=reason,
                fetches=fetches.get(action, {}),
            )

    return SyncPlan(
        runs=(
            *runs(RunAction.REUSE, PlanKind.SETTLED, "not looked at: settled", 12_000),
            *runs(RunAction.REFRESH, PlanKind.ROWS, tail.reason, 2),
            *runs(RunAction.MISSING, PlanKind.GONE, f"gone upstream since {NOON}", 1),
            *runs(RunAction.NEW, PlanKind.NOT_EXPORTED, "not exported yet", 1_990),
        ),
        requests=1_993,
        failures=(
            FailedRun(run_id=HOSTILE, kind=RunFailureKind.SERVER_ERROR, reason=f"no {HOSTILE}"),
        ),
        rows_removed=1_000,
    )


def status() -> ExportStatus:
    failure = RunFailure(kind=RunFailureKind.SERVER_ERROR, reason="HTTP 503")
    lag = Lag(kind=LagKind.ROWS, reason="1,980 rows behind")
    return ExportStatus(
        name="n",
        folder="data/n",
        entity="team",
        project="project",
        mode=ExportMode.HISTORY,
        selection="everything",
        scope="every run",
        runs=2_000,
        rows=1_000_000,
        alive=tuple(ids("alive", 11)),
        failed=dict.fromkeys(ids("failed", 1_990), failure),
        behind={HOSTILE: lag},
    )


def report() -> VerifyReport:
    findings = Findings()
    for line in range(1, 1_991):
        findings.add(FindingKind.LINE, "history.jsonl", "cannot be read", line)
    findings.add(FindingKind.CONTENT, "runs.jsonl", "does not have the SHA-256")
    file = DataFile(lines=1_000, bytes=10**6, sha256="")
    return VerifyReport(
        name="n", runs=1_000, rows=10**6, files={"runs.jsonl": file}, findings=findings.all()
    )


def comparison() -> Comparison:
    behind = Doubt(kind=DoubtKind.BEHIND, reason="1,980 rows behind")
    return Comparison(
        name="n",
        entity="team",
        project="project",
        address="api.wandb.ai",
        compared_at=NOON,
        report=VerifyReport(name="n", files={}),
        fully_exported=tuple(HeldRun(run_id=one, rows=1_000) for one in ids("held", 1_990)),
        not_fully_exported=(
            HeldRun(run_id="behind", display_name=HOSTILE, rows=20, reasons=(behind,)),
        ),
        not_exported=tuple(
            UnheldRun(run_id=one, kind=AbsenceKind.NEW, reason="not exported yet")
            for one in ids("absent", 12)
        ),
    )


def changes() -> SyncChanges:
    field = FieldChange(field="notes", old="was\x9b", new=HOSTILE)
    return SyncChanges(
        at=NOON,
        new=(HOSTILE, "plain"),
        changed={"changed": ChangedRun(fields=(field,), more=1_980)},
        rows={"changed": RowCount(before=999, after=1_980)},
    )
