"""What may happen to a project between and during syncs."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from dr_wandb.core.contract.listing import EveryRun, ListingQuery, RunsById, answers, scope_of
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import FIRST_SOURCE
from tests.support import syncing
from tests.support.memory_run import MemoryRun, spell_time
from tests.support.memory_source import MemorySource
from tests.support.state_files import as_if_large
from tests.support.syncing import NAME

LONG_AGO = "2025-06-01T00:00:00+00:00"
MINUTE, DAY = 60, 86_400
IDS = ("a", "b", "c", "d", "e", "é/1")

METRICS: tuple[dict[str, Any], ...] = (
    {"loss": 0.5},
    {"acc": 1},
    {"loss": float("nan"), "acc": -0.0},
    {"box": {"top": 1.5, "left": None}},
    {"note": "ü\u2028", "tokens": 2**53 + 1},
    {},
)

runs = st.sampled_from(IDS)
some_metrics = st.sampled_from(METRICS)


def judge_by_notes(filters: Mapping[str, Any], run: MemoryRun) -> bool:
    """Judge the one kind of filters that this project knows: `{"notes": TEXT}`."""
    assert filters.keys() == {"notes"}
    return bool(run.notes == filters["notes"])


class BusySource(MemorySource):
    """A project in which things also happen while it is read.

    meanwhile: what happens to it before a history is read. intruders: what others do on this
    computer before any call is answered. Each happens once.
    """

    kind = FIRST_SOURCE
    """It plays W&B: rows of an export that lost its hidden files count as W&B's."""

    def __init__(self) -> None:
        super().__init__(judge=judge_by_notes)
        self.meanwhile: list[Callable[[], None]] = []
        self.intruders: list[Callable[[], None]] = []
        self.disturbed = False

    def list_runs(self, query: ListingQuery) -> Any:
        self._let_in()
        return super().list_runs(query)

    def read_history(self, run: Any, window: Any, attempt: int) -> Any:
        self._let_in()
        with self.lock:
            while self.meanwhile:
                self.disturbed = True
                self.meanwhile.pop()()
        return super().read_history(run, window, attempt)

    def _let_in(self) -> None:
        with self.lock:
            while self.intruders:
                self.intruders.pop()()

    @property
    def shown(self) -> set[str]:
        return {run_id for run_id, run in self.runs.items() if not run.hidden}

    def inside(self, scope: Any) -> set[str]:
        """Return the runs that a listing within a scope shows."""
        return {
            run_id
            for run_id in self.shown
            if scope is None or self.admits(scope, self.runs[run_id])
        }

    def queries(self, since: int, scope: RunScope | None) -> list[ListingQuery]:
        """Return the listing queries from call `since` on.

        Within a scope, a question for every run is one for names to suggest: nothing else of its
        answer is used.
        """
        queries = [call[1] for call in self.asked[since:] if call[0] == "list_runs"]
        return [query for query in queries if scope is None or query != EveryRun()]

    def looked_at(self, queries: Iterable[ListingQuery], tracked: Collection[str]) -> set[str]:
        """Return the runs of which these queries say whether they are there, and how they are."""
        found = set()
        for query in queries:
            scope = scope_of(query)
            inside = self.inside(scope)
            for run_id in {*self.runs, *tracked}:
                if run_id in self.runs and (run_id in inside or not self.runs[run_id].hidden):
                    created = spell_time(self.runs[run_id].created_at)
                    asked = answers(query, run_id, created)
                    asked = asked and (isinstance(query, RunsById) or run_id in inside)
                elif isinstance(query, RunsById):
                    asked = run_id in query.run_ids
                else:
                    asked = isinstance(query, EveryRun) and scope is None
                if asked:
                    found.add(run_id)
        return found


class ProjectRules(RuleBasedStateMachine):
    """The project, and what happens to it between syncs."""

    def __init__(self) -> None:
        super().__init__()
        self.server = BusySource()
        self.folder = TemporaryDirectory()
        self.data_root = Path(self.folder.name) / "data"
        self.data_root.mkdir()
        self.request = syncing.request_for(self.data_root, allow_narrower=True)
        self.around = ExitStack()
        self.around.enter_context(syncing.without_fsync())
        # Runs that changed since their snapshot, or their rows, were last read.
        self.edited: set[str] = set()
        self.logged: set[str] = set()
        # Every run that there was, by id and second.
        self.created: set[tuple[str, str]] = set()
        # Runs whose rows may have been replaced by as many others that look alike from afar.
        self.masked: set[str] = set()

    def teardown(self) -> None:
        self.around.close()
        self.folder.cleanup()

    @property
    def export_dir(self) -> Path:
        return self.data_root / NAME

    def has(self, run_id: str) -> bool:
        return run_id in self.server.runs

    def touch(self, run_id: str, *, rows: bool = False) -> None:
        self.edited.add(run_id)
        if rows:
            self.logged.add(run_id)

    @initialize(count=st.integers(0, 5), large=st.booleans())
    def begin(self, count: int, large: bool) -> None:
        """large: what is known of the runs is written as in an export of many runs."""
        if large:
            self.around.enter_context(as_if_large())
        for run_id in IDS[:count]:
            self.create(run_id, False)
            for _ in range(3):
                self.log(run_id, {"loss": 1.5})
            self.advance(DAY)

    @rule(run_id=runs, old=st.booleans())
    def create(self, run_id: str, old: bool) -> None:
        """Create a run; one with an old creation time shows behind the watermark.

        No two runs have one id and one second: nothing else tells them apart.
        """
        if not self.has(run_id):
            metadata = {"host": f"node-{len(self.server.asked)}", "gpu": None}
            created_at = LONG_AGO if old and (run_id, LONG_AGO) not in self.created else None
            if (run_id, created_at or self.server.now) in self.created:
                self.advance(1)
            self.created.add((run_id, created_at or self.server.now))
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

    @rule(run_id=runs, metrics=some_metrics, step=st.booleans(), time=st.booleans())
    def log_without_a_place(
        self, run_id: str, metrics: dict[str, Any], step: bool, time: bool
    ) -> None:
        """Log a row without its step, its time, or both."""
        if self.has(run_id) and not (step and time):
            place = {"step": ... if step else None, "timestamp": ... if time else None}
            self.server.log(run_id, metrics, **place)
            self.touch(run_id, rows=True)
            if not time:
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

    @rule(run_id=runs, to_step=st.integers(-1, 5), count=st.sampled_from([0, 0, 1, 2, 4]))
    def rewind(self, run_id: str, to_step: int, count: int) -> None:
        """Take rows back, and log others at their steps and beyond."""
        if self.has(run_id):
            self.server.rewind(run_id, to_step)
            self.server.update(run_id, line_count_offset=0, last_step=None)
            for _ in range(count):
                self.server.log(run_id, {"loss": 5.5})
            self.touch(run_id, rows=True)

    @rule(run_id=runs)
    def delete(self, run_id: str) -> None:
        if self.has(run_id):
            self.server.delete(run_id)
            self.touch(run_id, rows=True)

    @rule(run_id=runs)
    def undelete(self, run_id: str) -> None:
        """Bring a run back as it was: W&B keeps it for seven days."""
        if run_id in self.server.deleted and not self.has(run_id):
            event("a run is undeleted")
            self.server.undelete(run_id)
            self.touch(run_id, rows=True)

    @rule(run_id=runs, count=st.integers(0, 4))
    def make_anew(self, run_id: str, count: int) -> None:
        """Delete a run and make another one under its id, in a later second.

        A run is its id and the second in which it was created: nothing else tells two apart.
        """
        if self.has(run_id):
            self.server.delete(run_id)
            self.create(run_id, False)
            for _ in range(count):
                self.server.log(run_id, {"loss": 2.5})

    @rule(run_id=runs, seen=st.booleans())
    def hide_or_reveal(self, run_id: str, seen: bool) -> None:
        if self.has(run_id):
            self.server.hide(run_id, not seen)

    @rule(
        run_id=runs,
        tags=st.lists(st.sampled_from("xyz"), max_size=2),
        notes=st.sampled_from([None, "keep", "ü" * 150]),
        config=st.sampled_from([None, {"lr": 0.1}, {"lr": 1}, {"lr": True}, {"a.b": {"c": [1]}}]),
    )
    def edit(self, run_id: str, tags: list[str], notes: str | None, config: Any) -> None:
        """Edit a run as a person does in the app, which moves no heartbeat."""
        if self.has(run_id):
            self.server.update(run_id, tags=tags, notes=notes, summary={"best": len(tags)})
            if config is not None:
                self.server.update(run_id, config=config)
            self.touch(run_id)

    @rule(
        run_id=runs,
        name=st.sampled_from([None, "nice", "é"]),
        group=st.sampled_from([None, "g"]),
        sweep=st.sampled_from([None, "s"]),
    )
    def rename(self, run_id: str, name: str | None, group: str | None, sweep: str | None) -> None:
        if self.has(run_id):
            self.server.update(run_id, display_name=name, group=group, sweep_name=sweep)
            self.touch(run_id)

    @rule(run_id=runs, part=st.floats(0, 1), overlap=st.integers(0, 3))
    def export_to_parquet(self, run_id: str, part: float, overlap: int) -> None:
        """Move a part of the rows to Parquet: another way for the same rows to come."""
        if self.has(run_id):
            self.server.export(run_id, round(part * len(self.server.runs[run_id].rows)), overlap)

    @rule(seconds=st.sampled_from([MINUTE, 10 * MINUTE, 2 * DAY, 2 * DAY, 40 * DAY]))
    def advance(self, seconds: int) -> None:
        self.server.advance(seconds)
