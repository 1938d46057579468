"""The laws of a sync, against a project that anything may happen to between and during syncs.

The machine drives an in-memory W&B and syncs it, by whatever request is in force, into one folder.
After each sync, run by run, the folder holds what a full reconcile with the same request into an
empty folder writes now. The exceptions are those of docs/sync.md, each where its comment is.
"""

import json
import math
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from dr_wandb import ExportSummary, iter_history_rows, load_manifest, load_run_snapshots
from dr_wandb.core.accept import SHORT_SYNCS
from dr_wandb.core.codec import encode_line, row_key
from dr_wandb.core.failures import DrWandbError, Unreachable
from dr_wandb.core.listing import TERMINAL_STATES, ListingQuery, answers
from dr_wandb.core.manifest import STATE_FILE
from dr_wandb.core.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.state import ExportState
from dr_wandb.shell.store import ExportStore, load_document
from tests import syncing
from tests.memory_run import spell_time
from tests.memory_source import MemorySource
from tests.syncing import ALWAYS_THERE, NAME, select

LONG_AGO = "2025-06-01T00:00:00+00:00"
MINUTE, DAY = 60, 86_400
IDS = ("a", "b", "c", "d", "é/1")

SELECTIONS = (
    None,
    None,
    select("loss"),
    select("acc", "box.top"),
    select(max_records=2),
    select("loss", max_records=3),
    select(min_step=2),
    select(max_step=4),
    select("loss", min_step=1, max_step=5, max_records=2),
)

METRICS = (
    {"loss": 0.5},
    {"acc": 1},
    {"loss": math.nan, "acc": -0.0},
    {"box": {"top": 1.5, "left": None}},
    {"note": "ü\u2028", "tokens": 2**53 + 1},
    {},
)


class BusySource(MemorySource):
    """A project in which things also happen while it is read: `meanwhile`, before a history is."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Any] = []
        self.disturbed = False

    def read_history(self, run: Any, window: Any, attempt: int) -> Any:
        with self.lock:
            while self.meanwhile:
                self.disturbed = True
                self.meanwhile.pop()()
        return super().read_history(run, window, attempt)

    def looked_at(self, since: int) -> set[str]:
        """Return the ids that the listing queries from call `since` on have asked for."""
        queries: list[ListingQuery] = [
            call[1] for call in self.asked[since:] if call[0] == "list_runs"
        ]
        return {
            run_id
            for run_id, run in self.runs.items()
            if any(answers(query, run_id, spell_time(run.created_at)) for query in queries)
        }


runs = st.sampled_from(IDS)
some_metrics = st.sampled_from(METRICS)


class SyncMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.server = BusySource()
        self.folder = TemporaryDirectory()
        self.data_root = Path(self.folder.name)
        self.request = syncing.request_for(self.data_root)
        self.calm = syncing.without_fsync()
        self.calm.__enter__()
        # Runs that changed since their snapshot, or their rows, were last read.
        self.edited: set[str] = set()
        self.logged: set[str] = set()
        # Runs whose rows may have been replaced by as many others that look alike from afar.
        self.masked: set[str] = set()
        self.to_shorten: dict[str, tuple[int, int]] = {}
        self.shortened = 0

    def teardown(self) -> None:
        self.calm.__exit__(None, None, None)
        self.folder.cleanup()

    @property
    def export_dir(self) -> Path:
        return self.data_root / NAME

    # --- the project

    @initialize(count=st.integers(0, 3))
    def begin(self, count: int) -> None:
        for run_id in IDS[:count]:
            self.create(run_id, False)
            for _ in range(3):
                self.log(run_id, {"loss": 1.5})
            self.advance(DAY)

    def has(self, run_id: str) -> bool:
        return run_id in self.server.runs

    def touch(self, run_id: str, *, rows: bool = False) -> None:
        self.edited.add(run_id)
        if rows:
            self.logged.add(run_id)

    @rule(run_id=runs, old=st.booleans())
    def create(self, run_id: str, old: bool) -> None:
        """Create a run; one with an old creation time shows behind the watermark."""
        if not self.has(run_id):
            metadata = {"host": f"node-{len(self.server.asked)}", "gpu": None}
            created_at = LONG_AGO if old else None
            self.server.add_run(run_id, created_at=created_at, metadata=metadata, config={"n": 1})
            self.touch(run_id, rows=True)

    @rule(run_id=runs, metrics=some_metrics)
    def log(self, run_id: str, metrics: dict[str, Any]) -> None:
        if self.has(run_id):
            self.server.log(run_id, metrics)
            self.touch(run_id, rows=True)

    @rule(run_id=runs, count=st.integers(2, 8), gap=st.sampled_from([1, 1, 3, 1000]))
    def log_several(self, run_id: str, count: int, gap: int) -> None:
        if self.has(run_id):
            last = self.server.runs[run_id].highest_step
            for number in range(count):
                step = last + 1 + number * gap
                self.server.log(run_id, METRICS[number % len(METRICS)], step=step)
            self.touch(run_id, rows=True)

    @rule(run_id=runs, step=st.integers(0, 6), metrics=some_metrics)
    def log_late(self, run_id: str, step: int, metrics: dict[str, Any]) -> None:
        """Log at a step that may be there already, or that others have passed."""
        if self.has(run_id):
            self.server.log(run_id, metrics, step=step)
            self.touch(run_id, rows=True)

    @rule(run_id=runs, metrics=some_metrics)
    def log_at_the_last_step_again(self, run_id: str, metrics: dict[str, Any]) -> None:
        if self.has(run_id):
            self.server.log(run_id, metrics, step=max(0, self.server.runs[run_id].highest_step))
            self.touch(run_id, rows=True)

    @rule(run_id=runs, metrics=some_metrics, timed=st.booleans())
    def log_without_a_step(self, run_id: str, metrics: dict[str, Any], timed: bool) -> None:
        if self.has(run_id):
            self.server.log(run_id, metrics, step=None, timestamp=... if timed else None)
            self.touch(run_id, rows=True)
            if not timed:
                self.masked.add(run_id)

    @rule(run_id=runs, metrics=some_metrics)
    def log_without_a_time(self, run_id: str, metrics: dict[str, Any]) -> None:
        if self.has(run_id):
            self.server.log(run_id, metrics, timestamp=None)
            self.touch(run_id, rows=True)
            self.masked.add(run_id)

    @rule(
        run_id=runs, state=st.sampled_from(["finished", "finished", "crashed", "killed", "odd", ""])
    )
    def end(self, run_id: str, state: str) -> None:
        if self.has(run_id):
            self.server.finish(run_id, state or "preempted")
            self.touch(run_id)

    @rule(run_id=runs, host=st.sampled_from(["other", None]))
    def resume(self, run_id: str, host: str | None) -> None:
        """Let a run go on, later, on another machine: only then its metadata changes."""
        if self.has(run_id):
            self.server.advance(MINUTE)
            self.server.resume(run_id)
            self.server.update(run_id, metadata=host and {"host": host})
            self.touch(run_id)

    @rule(run_id=runs, to_step=st.integers(-1, 5))
    def rewind(self, run_id: str, to_step: int) -> None:
        if self.has(run_id):
            self.server.rewind(run_id, to_step)
            self.server.update(run_id, line_count_offset=0, last_step=None)
            self.touch(run_id, rows=True)

    @rule(run_id=runs, to_step=st.integers(-1, 3), count=st.integers(1, 6))
    def rewind_and_log_again(self, run_id: str, to_step: int, count: int) -> None:
        """Log other rows at the steps of those that are gone, and beyond."""
        if self.has(run_id):
            self.rewind(run_id, to_step)
            for _ in range(count):
                self.log(run_id, {"loss": 5.5})

    @rule(run_id=runs)
    def delete(self, run_id: str) -> None:
        if self.has(run_id):
            self.server.delete(run_id)
            self.touch(run_id, rows=True)

    @rule(run_id=runs, count=st.integers(0, 4))
    def make_anew(self, run_id: str, count: int) -> None:
        """Delete a run and make another one under its id."""
        if self.has(run_id):
            self.server.delete(run_id)
            self.create(run_id, False)
            for _ in range(count):
                self.server.log(run_id, {"loss": 2.5})

    @rule(run_id=runs, seen=st.booleans())
    def hide_or_reveal(self, run_id: str, seen: bool) -> None:
        if self.has(run_id):
            self.server.hide(run_id, not seen)

    @rule(run_id=runs, tags=st.lists(st.sampled_from("xyz"), max_size=2), config=st.booleans())
    def edit(self, run_id: str, tags: list[str], config: bool) -> None:
        """Edit a run as a person does in the app, which moves no heartbeat."""
        if self.has(run_id):
            self.server.update(run_id, tags=tags, summary={"best": len(tags)})
            if config:
                self.server.update(run_id, config={"lr": 0.1, "tags": tags})
            self.touch(run_id)

    @rule(run_id=runs, part=st.floats(0, 1), overlap=st.integers(0, 3))
    def export_to_parquet(self, run_id: str, part: float, overlap: int) -> None:
        """Move a part of the rows to Parquet: another way for the same rows to come."""
        if self.has(run_id):
            self.server.export(run_id, round(part * len(self.server.runs[run_id].rows)), overlap)

    # --- what W&B says of a run, and is not so

    @rule(run_id=runs, null=st.booleans())
    def show_no_history_keys(self, run_id: str, null: bool) -> None:
        if self.has(run_id):
            self.server.update(run_id, null_history_keys=null)
            self.touch(run_id)

    @rule(run_id=runs, behind=st.integers(0, 3))
    def show_a_stale_last_step(self, run_id: str, behind: int) -> None:
        if self.has(run_id):
            stale = max(-1, self.server.runs[run_id].highest_step - behind)
            self.server.update(run_id, last_step=stale if behind else None)
            self.touch(run_id)

    @rule(run_id=runs, offset=st.sampled_from([0, 0, 1, 2, -1]))
    def count_lines_wrongly(self, run_id: str, offset: int) -> None:
        if self.has(run_id) and len(self.server.runs[run_id].rows) > 1:
            self.server.update(run_id, line_count_offset=offset)
            self.touch(run_id)
            self.masked.add(run_id)

    @rule(run_id=runs, broken=st.booleans())
    def break_the_config(self, run_id: str, broken: bool) -> None:
        if self.has(run_id):
            self.server.update(run_id, config_json='{"lr": ' if broken else None)
            self.touch(run_id)

    # --- faults of the next sync

    @rule(run_id=runs, times=st.sampled_from([1, 2, 9]))
    def fail_history(self, run_id: str, times: int) -> None:
        self.server.fail_history(run_id, times)

    @rule(run_id=runs, times=st.sampled_from([1, 2, 9]))
    def fail_metadata(self, run_id: str, times: int) -> None:
        self.server.fail_metadata(run_id, times)

    @precondition(lambda self: self.shortened < SHORT_SYNCS - 1)
    @rule(run_id=runs, count=st.integers(0, 3), times=st.sampled_from([1, 9]))
    def shorten_history(self, run_id: str, count: int, times: int) -> None:
        """Let answers of the next sync end early, without an error."""
        self.to_shorten[run_id] = (count, times)

    def shorten_histories(self) -> None:
        """Shorten what was asked for, as far as anybody could tell that rows lack.

        Of a step window, or of a run whose last step is not known, nobody can tell that an answer
        which has some rows lacks others; so these get empty ones.
        """
        bounds = self.request.selection.bounds
        windowed = bounds.min_step is not None or bounds.max_step is not None
        for run_id, (count, times) in self.to_shorten.items():
            blind = windowed or (self.has(run_id) and self.understates_last_step(run_id))
            self.server.shorten_history(run_id, 0 if blind else count, times)
        self.shortened = self.shortened + 1 if self.to_shorten else 0
        self.to_shorten.clear()

    @rule(times=st.sampled_from([1, 2, 9]))
    def fail_listing(self, times: int) -> None:
        self.server.fail_listing(times)

    @rule(
        run_id=runs,
        what=st.sampled_from(["log", "log", "rewind", "delete", "finish", "late", "anew"]),
    )
    def let_happen_during_the_next_sync(self, run_id: str, what: str) -> None:
        happenings = {
            "log": lambda: self.log(run_id, {"loss": 3.5}),
            "rewind": lambda: self.rewind(run_id, 1),
            "delete": lambda: self.delete(run_id),
            "finish": lambda: self.end(run_id, "finished"),
            "late": lambda: self.log_late(run_id, 1, {"acc": 3.5}),
            "anew": lambda: self.make_anew(run_id, 2),
        }
        self.server.meanwhile.append(happenings[what])

    # --- the request and the clock

    @rule(mode=st.sampled_from(["history", "history", "metadata"]), to=st.sampled_from(SELECTIONS))
    def ask_for(self, mode: str, to: Any) -> None:
        self.request = replace(
            self.request,
            mode=ExportMode(mode),
            history_selection=to if mode == "history" else None,
        )

    @rule(included=st.booleans())
    def include_metadata(self, included: bool) -> None:
        self.request = replace(self.request, include_metadata=included)

    @rule(mode=st.sampled_from(["incremental", "incremental", "full_reconcile"]))
    def ask_in(self, mode: str) -> None:
        self.request = replace(self.request, sync_mode=SyncMode(mode))

    @rule(seconds=st.sampled_from([MINUTE, 10 * MINUTE, 2 * DAY, 2 * DAY, 40 * DAY]))
    def advance(self, seconds: int) -> None:
        self.server.advance(seconds)

    # --- syncs

    @rule()
    def sync(self) -> None:
        before = View(self.export_dir)
        state = load_document(self.export_dir / STATE_FILE, ExportState)
        asked = len(self.server.asked)
        self.shorten_histories()
        self.server.disturbed = False
        try:
            summary = syncing.export(self.server, self.request, now=self.server.now)
        except DrWandbError as error:
            if not isinstance(error.failure, Unreachable) or View(self.export_dir) != before:
                raise
            self.server.meanwhile.clear()
            self.server._faults.clear()
            return
        looked_at = self.server.looked_at(asked)
        disturbed = self.server.disturbed
        self.server.meanwhile.clear()
        self.server._faults.clear()
        note(f"failures {summary.failures}")
        after = View(self.export_dir)
        check_files(self.export_dir, self.request, summary)
        check_summary(before, after, summary)
        check_exported_at(before, after)
        if disturbed:
            self.edited.update(IDS)
            self.logged.update(IDS)
            return
        self.check_convergence(before, after, state, looked_at, summary)
        if summary.complete:
            self.check_idempotence(after)

    @rule(seconds=st.sampled_from([MINUTE, 2 * DAY]))
    def sync_later(self, seconds: int) -> None:
        self.advance(seconds)
        self.sync()

    @rule(run_id=runs, count=st.integers(1, 3))
    def sync_after_growth(self, run_id: str, count: int) -> None:
        for _ in range(count):
            self.log(run_id, {"loss": 4.5})
        self.sync()

    @rule(to=st.sampled_from(SELECTIONS))
    def sync_under_a_selection(self, to: Any) -> None:
        self.ask_for("history", to)
        self.sync()

    @rule(mode=st.sampled_from(["history", "metadata"]))
    def sync_in_full(self, mode: str) -> None:
        asked_before = self.request
        self.ask_for(mode, self.request.history_selection)
        self.ask_in("full_reconcile")
        self.sync()
        self.request = asked_before

    @rule(to=st.sampled_from(SELECTIONS))
    def sync_until_settled(self, to: Any) -> None:
        """End every run, sync when that is long ago, and then under another selection."""
        for run_id in self.server.runs:
            self.end(run_id, "finished")
        self.advance(2 * DAY)
        self.sync_until_complete()
        self.sync_under_a_selection(to)

    @rule()
    def sync_until_complete(self) -> None:
        """Sync until nothing fails; what W&B's count is wrong about takes three syncs."""
        for run_id in self.server.runs:
            self.server.update(run_id, config_json=None)
            self.edited.add(run_id)
        for _ in range(SHORT_SYNCS + 1):
            self.sync()
            summary = syncing.export(self.server, self.request, now=self.server.now)
            if summary.complete:
                return
        raise AssertionError(f"never complete: {summary.failures}")

    def check_convergence(
        self,
        before: "View",
        after: "View",
        state: ExportState | None,
        looked_at: set[str],
        summary: ExportSummary,
    ) -> None:
        with syncing.fresh_export(
            self.server,
            mode=self.request.mode,
            history_selection=self.request.history_selection,
            include_metadata=self.request.include_metadata,
        ) as folder:
            fresh = View(folder)
        history = self.request.mode == ExportMode.HISTORY
        tracked = state.runs if state is not None else {}
        present = {run_id for run_id, run in tracked.items() if run.missing_since is None}
        shown = {run_id for run_id, run in self.server.runs.items() if not run.hidden}
        failed = {failure.run_id for failure in summary.failures}
        unnoticed = shown - present - looked_at
        ghosts = present - shown - looked_at
        for run_id in sorted({*shown, *before.runs, *after.runs, *fresh.runs}):
            snapshot, rows = after.of(run_id)
            held, held_rows = before.of(run_id)
            wanted, wanted_rows = fresh.of(run_id)
            if run_id not in shown:
                # Exception 2: runs that are gone upstream are kept.
                assert (snapshot, rows) == (held, held_rows), run_id
                continue
            if run_id in failed:
                # Exception 3: failed runs keep what they had; new ones have a snapshot, no rows.
                assert rows == held_rows, run_id
                assert snapshot == held or held is None, run_id
                continue
            if run_id in unnoticed:
                # Exception 8: a deletion and a late appearance that cancel out in W&B's count.
                assert len(unnoticed) <= len(ghosts), (unnoticed, ghosts)
                assert (snapshot, rows) == (held, held_rows), run_id
                continue
            if run_id not in looked_at:
                # Exception 5: settled runs are not looked at again by an incremental sync.
                assert self.request.sync_mode == SyncMode.INCREMENTAL
                assert_settled(state, run_id)
                if run_id in self.edited:
                    wanted = held
                if run_id in self.logged:
                    wanted_rows = held_rows
            if not history:
                # Exception 4: in metadata mode the history stays as it was.
                wanted_rows = held_rows
            assert snapshot == wanted, run_id
            if (
                run_id in self.masked
                and rows == held_rows
                and self.request.sync_mode == SyncMode.INCREMENTAL
            ):
                # Exception 7: what W&B's counts do not show.
                continue
            assert rows == wanted_rows, run_id
        read = looked_at & shown - failed
        self.edited -= read
        if history:
            self.logged -= read

    def check_idempotence(self, after: "View") -> None:
        """Sync again at once: no byte changes, and an incremental sync asks for no history.

        A run whose last step W&B lists too low, or not at all, is read again each time where the
        line count does not account for the rows beyond it: under a step window, or if it is too
        low as well.
        """
        asked = len(self.server.asked)
        syncing.export(self.server, self.request, now=self.server.now)
        assert View(self.export_dir).files == after.files
        if self.request.sync_mode == SyncMode.INCREMENTAL:
            read = {call[1] for call in self.server.asked[asked:] if call[0] == "read_history"}
            for run_id in read:
                undercounted = self.server.runs[run_id].line_count_offset < 0
                assert self.understates_last_step(run_id), run_id
                assert undercounted, run_id

    def understates_last_step(self, run_id: str) -> bool:
        run = self.server.runs[run_id]
        stale = run.last_step is not None and run.last_step < run.highest_step
        return run.null_history_keys or stale


class View:
    """What lies in the folder of an export at some moment; there may be none."""

    def __init__(self, folder: Path) -> None:
        files = syncing.visible(folder)
        self.snapshots = {
            snapshot["run"]["run_id"]: snapshot
            for snapshot in map(json.loads, syncing.lines(files, "runs.jsonl"))
        }
        self.runs = {run_id: snapshot["run"] for run_id, snapshot in self.snapshots.items()}
        self.rows = syncing.rows_in(folder) if files else {}
        self.files = {name: text for name, text in files.items() if name != STATE_FILE}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.files == other.files

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.files.items())))

    def of(self, run_id: str) -> tuple[Any, list[bytes]]:
        return self.runs.get(run_id), self.rows.get(run_id, [])


def assert_settled(state: ExportState | None, run_id: str) -> None:
    """Only a run that had ended a day before the last sync, and was read since, is settled."""
    assert state is not None, run_id
    tracking, synced = state.runs[run_id], state.last_exported_at
    assert tracking.missing_since is None, run_id
    assert tracking.failure is None, run_id
    assert tracking.run_state in TERMINAL_STATES, run_id
    assert tracking.seen is not None, run_id
    assert tracking.seen.heartbeat_at is not None, run_id
    assert synced is not None, run_id
    age = datetime.fromisoformat(synced) - datetime.fromisoformat(tracking.seen.heartbeat_at)
    assert age > timedelta(hours=24), run_id


def check_files(folder: Path, request: ExportRequest, summary: ExportSummary) -> None:
    """Only the documented files are there; they load, in the documented order and spelling."""
    names = set(syncing.visible(folder))
    manifest = load_manifest(NAME, folder.parent)
    assert manifest is not None
    store = ExportStore(name=NAME, data_root=folder.parent)
    state = store.load_state(entity=request.entity, project=request.project)
    assert names == ALWAYS_THERE | ({"history.jsonl"} if manifest.history_path else set())
    assert manifest.history_path or request.mode == ExportMode.METADATA
    assert not syncing.hidden(folder) & {".staging", ".commit.json", ".lock-holder.json"}
    snapshots = load_run_snapshots(NAME, folder.parent)
    rows = list(iter_history_rows(NAME, folder.parent))
    files = syncing.visible(folder)
    assert [encode_line(record) for record in snapshots] == syncing.lines(files, "runs.jsonl")
    assert [encode_line(row) for row in rows] == syncing.lines(files, "history.jsonl")
    newest_first = sorted(snapshots, key=lambda one: (instant(one), one.run.run_id), reverse=True)
    assert snapshots == newest_first
    in_order = sorted(
        rows, key=lambda row: (row.run_id, row_key(row.step, row.timestamp), encode_line(row))
    )
    assert rows == in_order
    assert (manifest.run_count, manifest.history_count) == (len(snapshots), len(rows))
    assert (summary.run_count, summary.history_count) == (len(snapshots), len(rows))
    assert {row.run_id for row in rows} <= {snapshot.run.run_id for snapshot in snapshots}
    assert state.runs.keys() >= {snapshot.run.run_id for snapshot in snapshots}


def instant(snapshot: Any) -> datetime:
    return datetime.fromisoformat(snapshot.run.created_at)


def check_summary(before: View, after: View, summary: ExportSummary) -> None:
    """Every run is counted once, and the rows added are those that the runs grew by."""
    state = load_document(Path(summary.state_path), ExportState)
    assert state is not None
    counted = (
        summary.new_count
        + summary.refreshed_count
        + summary.reused_count
        + summary.failed_count
        + summary.missing_count
    )
    assert counted == len(state.runs)
    assert summary.failed_count == len(summary.failures)
    growth = (len(rows) - len(before.of(run_id)[1]) for run_id, rows in after.rows.items())
    assert summary.rows_added == sum(max(0, rows) for rows in growth)


def check_exported_at(before: View, after: View) -> None:
    """A snapshot that is still the same keeps its time: exception 1."""
    for run_id, snapshot in after.snapshots.items():
        if before.runs.get(run_id) == snapshot["run"]:
            assert snapshot == before.snapshots[run_id], run_id


TestSyncMachine = SyncMachine.TestCase
TestSyncMachine.settings = settings(stateful_step_count=30)
