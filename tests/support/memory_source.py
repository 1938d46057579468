"""An in-memory W&B project that is a source: for tests and state machines, with real behaviour.

Guarantees
- Nothing depends on the wall clock: `now` moves only when a test moves it.
- Every change to a run moves its heartbeat to `now`.
- A run made anew under the id of a deleted one has another storage id.
- Faults happen as often as they were asked for, then the project answers again.
"""

import base64
import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dr_wandb.core.contract.artifacts import manifest_id
from dr_wandb.core.contract.criteria import Criterion, Operator
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.file_names import name_spelled
from dr_wandb.core.contract.listing import ListingQuery, RunListing, answers, scope_of
from dr_wandb.core.contract.manifest_entries import entries_of, manifest_digest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.scope import CRITERIA, RunScope
from dr_wandb.shell.sources import RowBatch, RunPage, SourceError
from dr_wandb.shell.sources.contents import FileGoneError, Save, T
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, RecordPage
from tests.support.memory_run import MemoryRun, epoch, later, spell_time

ANY_RUN = None
"""Names a fault of the listing, which concerns no run."""

UNREADABLE = RunFailure(kind=RunFailureKind.SERVER_ERROR, reason="it does not read")
"""Why a run that cannot be read is not listed."""

_Fault = tuple[str, str | None]

Judge = Callable[[Mapping[str, Any], MemoryRun], bool]
"""Says whether a run answers to the `filters` of a scope, which only W&B can judge."""


class MemorySource:
    """A project of runs, and a source of them.

    runs_per_page, rows_per_batch: small, so that every answer comes in pieces.
    asked: every call that was made, in order: its name, the run id or the query, and more.
    counts: whether listings say how many runs there are.
    judge: has to be there where a scope has `filters`.
    """

    secrets: tuple[str, ...] = ()
    kind = "memory"
    lists_at_once = False
    address = "memory"

    def __init__(
        self,
        *,
        entity: str = "entity",
        project: str = "project",
        now: str = "2026-01-01T00:00:00+00:00",
        runs_per_page: int = 3,
        rows_per_batch: int = 3,
        counts: bool = True,
        judge: Judge | None = None,
    ) -> None:
        self.entity = entity
        self.project = project
        self.now = now
        self.runs_per_page = runs_per_page
        self.rows_per_batch = rows_per_batch
        self.counts = counts
        self.judge = judge
        self.recorded_at: str | None = None
        self.runs: dict[str, MemoryRun] = {}
        self.deleted: dict[str, MemoryRun] = {}
        self.poisoned: set[str] = set()
        self.asked: list[tuple[Any, ...]] = []
        self.closed = 0
        self.lock = threading.RLock()
        self._created_count = 0
        self._logged_count = 0
        self._faults: Counter[_Fault] = Counter()
        self._shown_rows: dict[str, int] = {}
        self.unreadable: set[str] = set()
        self.records: dict[str, list[dict[str, Any] | None]] = {"sweeps": [], "reports": []}
        self.count_offsets: dict[str, int] = {}
        self.collections: dict[str, list[dict[str, Any]]] = {}
        self.links: dict[str, dict[str, Any]] = {}
        self.beside: list[dict[str, Any]] = []

    def without_runs(self) -> "MemorySource":
        """Return a source of the same kind, for a project that is empty."""
        return MemorySource(
            entity=self.entity, project=self.project, now=self.now, judge=self.judge
        )

    # --- the project

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.now = later(self.now, seconds)

    def add_run(self, run_id: str, *, created_at: str | None = None, **fields: Any) -> MemoryRun:
        """Create a run; `fields` are attributes of MemoryRun."""
        with self.lock:
            if run_id in self.runs:
                raise ValueError(f"run {run_id!r} exists; delete it first")
            self._created_count += 1
            name = f"Run:v1:{run_id}:{self.project}:{self.entity}"
            storage_id = base64.b64encode(name.encode("utf-8", "surrogatepass")).decode()
            run = MemoryRun(run_id, storage_id, created_at or self.now, **fields)
            self.runs[run_id] = run
            return run

    def delete(self, run_id: str) -> None:
        """Remove a run. W&B keeps it for seven days."""
        with self.lock:
            self.deleted[run_id] = self.runs.pop(run_id)

    def undelete(self, run_id: str) -> None:
        """Bring back the run that was last deleted under an id, with its storage id."""
        with self.lock:
            if run_id in self.runs:
                raise ValueError(f"run {run_id!r} exists; delete it first")
            self.runs[run_id] = self.deleted.pop(run_id)

    def log(
        self,
        run_id: str,
        metrics: Mapping[str, Any] | None = None,
        *,
        step: Any = ...,
        timestamp: Any = ...,
    ) -> dict[str, Any]:
        """Append a row. Without a step it is the next one, at the clock's time; None is none.

        Each row comes a millisecond later by itself, so no two have one step and timestamp.
        """
        with self._change(run_id) as run:
            self._logged_count += 1
            if timestamp is ...:
                timestamp = round(epoch(self.now) + self._logged_count / 1000, 3)
            return run.log(metrics or {}, step, timestamp)

    def sample(self, run_id: str, **values: Any) -> None:
        """Append a sample of the machine, at the clock's time."""
        with self._change(run_id) as run:
            moment = round(epoch(self.now) + len(run.samples) / 4, 3)
            named = {f"system.{name}": value for name, value in values.items()}
            runtime = moment - epoch(run.created_at)
            run.samples.append({**named, "_timestamp": moment, "_runtime": runtime, "_wandb": True})

    def write_line(self, run_id: str, text: str, *, error: bool = False) -> None:
        """Append a line of a console."""
        with self._change(run_id) as run:
            run.write_line(text, error=error)

    def put_file(self, run_id: str, name: str, content: bytes, **facts: Any) -> None:
        """Upload a file, or another version of it; facts: what its listing says instead."""
        with self._change(run_id) as run:
            run.files[name] = content
            run.file_facts[name] = {"updatedAt": spell_time(self.now), **facts}

    def remove_file(self, run_id: str, name: str) -> None:
        """Delete a file."""
        with self._change(run_id) as run:
            del run.files[name]

    def lose_bytes(self, run_id: str, name: str, times: int = 1) -> None:
        """Let the bytes of a file be gone when they are asked for next, while it is listed."""
        self._faults[f"bytes of {name}", run_id] += times

    def finish(self, run_id: str, state: str = "finished") -> None:
        """End a run."""
        with self._change(run_id) as run:
            run.state = state

    def resume(self, run_id: str) -> None:
        """Let a run go on."""
        self.finish(run_id, "running")

    def rewind(self, run_id: str, to_step: int) -> None:
        """Drop the rows with a higher step; exported files go with them."""
        with self._change(run_id) as run:
            run.rewind(to_step)

    def update(self, run_id: str, **fields: Any) -> None:
        """Change attributes of a run as a person does in the app: without a heartbeat."""
        with self.lock:
            self.runs[run_id].change(**fields)

    def export(self, run_id: str, upto: int | None = None, overlap: int = 0) -> None:
        """Move rows[:upto] to Parquet; the last `overlap` of them are live as well."""
        with self.lock:
            self.runs[run_id].export(upto, overlap)

    def hide(self, run_id: str, hidden: bool = True) -> None:
        """Keep a run out of listings, as one that was created a moment ago."""
        self.update(run_id, hidden=hidden)

    # --- faults

    def fail_listing(self, times: int = 1) -> None:
        """Let so many listings fail, after their first page."""
        self._faults["listing", ANY_RUN] += times

    def fail_history(self, run_id: str, times: int = 1) -> None:
        """Let so many reads of a history fail, after their first batch."""
        self._faults["history", run_id] += times

    def fail_metadata(self, run_id: str, times: int = 1) -> None:
        """Let so many reads of the metadata fail."""
        self._faults["metadata", run_id] += times

    def throttle(self, times: int = 1) -> None:
        """Refuse so many calls in a row, whatever they ask for."""
        self._faults["throttle", ANY_RUN] += times

    def shorten_history(self, run_id: str, rows: int = 0, times: int = 1) -> None:
        """Let so many reads of a history end after `rows` rows, without an error."""
        self._shown_rows[run_id] = rows
        self._faults["short", run_id] += times

    def add_version(self, collection: str, **fields: Any) -> str:
        """Add a version to a collection; return its id."""
        nodes = self.collections.setdefault(collection, [])
        number = len(nodes)
        contents = fields.pop("contents", {"a.txt": {"digest": f"digest-{number}", "size": 3}})
        entries = entries_of({"contents": contents})
        artifact = {
            "id": f"{collection}-{number}",
            "versionIndex": number,
            "artifactType": {"name": "dataset"},
            "artifactSequence": {"name": collection},
            "state": "COMMITTED",
            "digest": manifest_digest(entries, None),
            "aliases": [{"alias": "latest", "artifactCollection": {"name": collection}}],
            **fields,
        }
        node = {"collection": {"name": collection}, "version": f"v{number}", "artifact": artifact}
        nodes.append({**node, "manifest": {"contents": contents}})
        return str(artifact["id"])

    def use(self, run_id: str, artifact_id: str, used_as: str | None = None) -> None:
        """Let a run use a version."""
        self._links_of(run_id)["inputs"].append({"id": artifact_id, "usedAs": used_as})

    def make(self, run_id: str, artifact_id: str) -> None:
        """Let a run log a version."""
        self._links_of(run_id)["outputs"].append(artifact_id)

    def _links_of(self, run_id: str) -> dict[str, Any]:
        return self.links.setdefault(run_id, {"outputs": [], "inputs": []})

    def _link_counts(self, run_id: str) -> dict[str, Any]:
        links = self.links.get(run_id, {"outputs": [], "inputs": []})
        return {
            "outputArtifacts": {"totalCount": len(links["outputs"])},
            "inputArtifacts": {"totalCount": len(links["inputs"])},
        }

    def fail_records(self, dataset: str, times: int = 1) -> None:
        """Let so many listings of a dataset of the project fail, after their first page."""
        self._faults["records", dataset] += times

    def calm_down(self) -> None:
        """Forget the faults that are still to come; what is poisoned stays so."""
        with self.lock:
            self._faults.clear()

    def count_asked(self, name: str, run_id: str | None = None) -> int:
        """Return how often a method was called, for one run where one is named."""
        return sum(call[0] == name and (run_id is None or call[1] == run_id) for call in self.asked)

    # --- the source

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query from what is there when it is asked."""
        with self.lock:
            self.asked.append(("list_runs", query))
            self._refuse_if_throttled()
            fails = self._take_fault("listing", ANY_RUN)
            visible = [run for run in self.runs.values() if not run.hidden]
            visible.sort(key=lambda run: (spell_time(run.created_at), run.run_id))
            if (scope := scope_of(query)) is not None:
                visible = [run for run in visible if self.admits(scope, run)]
            nodes = [
                {**run.node(self.entity, self.project), **self._link_counts(run.run_id)}
                for run in visible
                if answers(query, run.run_id, spell_time(run.created_at))
            ]
        matching, total = (len(nodes), len(visible)) if self.counts else (None, None)
        for start in range(0, max(1, len(nodes)), self.runs_per_page):
            page = nodes[start : start + self.runs_per_page]
            unread = {str(run["name"]): UNREADABLE for run in page}
            unread = {name: why for name, why in unread.items() if name in self.unreadable}
            runs = [run for run in page if run["name"] not in unread]
            yield RunPage(runs=runs, unread=unread, matching=matching, total=total)
            if fails:
                raise SourceError("the listing broke off", RunFailureKind.UNREACHABLE)

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        """Give the rows as they are when asked for, exported ones first."""
        with self.lock:
            self.asked.append(("read_history", run.run_id, window, attempt))
            self._refuse_if_throttled()
            copies = self._find(run).read(window.start, window.stop)
            if self._take_fault("short", run.run_id):
                copies = copies[: self._shown_rows[run.run_id]]
            fails = self._take_fault("history", run.run_id) or run.run_id in self.poisoned
        for live in (False, True):
            rows = [row for row_live, row in copies if row_live == live]
            for start in range(0, len(rows), self.rows_per_batch):
                yield RowBatch(rows=rows[start : start + self.rows_per_batch], live=live)
                if fails:
                    raise SourceError("the history broke off", RunFailureKind.UNREACHABLE)
        if fails:
            raise SourceError("the history broke off", RunFailureKind.UNREACHABLE)

    def read_system(self, run: RunListing, window: FetchWindow, attempt: int) -> Iterator[RowBatch]:
        """Give all samples of a machine as they are when asked for."""
        with self.lock:
            self.asked.append(("read_system", run.run_id, window, attempt))
            self._refuse_if_throttled()
            samples = copy.deepcopy(self._find(run).samples)
        for start in range(0, len(samples), self.rows_per_batch):
            yield RowBatch(rows=samples[start : start + self.rows_per_batch])

    def read_console(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        """Give the lines of a console as they are when asked for."""
        with self.lock:
            self.asked.append(("read_console", run.run_id, window, attempt))
            self._refuse_if_throttled()
            lines = copy.deepcopy(self._find(run).console)
        inside = [line for line in lines if window.has(line["_step"])]
        for start in range(0, len(inside), self.rows_per_batch):
            yield RowBatch(rows=inside[start : start + self.rows_per_batch], live=False)

    def read_files(self, run: RunListing, window: FetchWindow, attempt: int) -> Iterator[RowBatch]:
        """List the files of a run as they are when asked for."""
        with self.lock:
            self.asked.append(("read_files", run.run_id, window, attempt))
            self._refuse_if_throttled()
            files = self._find(run).list_files()
        for number, start in enumerate(range(0, len(files), self.rows_per_batch)):
            yield RowBatch(rows=files[start : start + self.rows_per_batch], live=True, file=number)

    @property
    def contents(self) -> "MemorySource":
        """Return what gives the bytes of files."""
        return self

    def find(self, run: RunListing, name: str) -> dict[str, Any] | None:
        """List one file as it is now."""
        with self.lock:
            self.asked.append(("find", run.run_id, name))
            return next((one for one in self._find(run).list_files() if one["name"] == name), None)

    def fetch(self, run: RunListing, name: str, save: Save[T]) -> T:
        """Give the bytes of a file as they are now."""
        with self.lock:
            self.asked.append(("fetch", run.run_id, name))
            self._refuse_if_throttled()
            content = self._find(run).files.get(name_spelled(name))
            lost = self._take_fault(f"bytes of {name_spelled(name)}", run.run_id)
        if content is None or lost:
            raise FileGoneError(f"{name} is not there")
        half = len(content) // 2
        return save(iter([content[:half], content[half:]]))

    def read_metadata(self, run: RunListing) -> Mapping[str, Any] | None:
        """Give the metadata as it is when asked for."""
        with self.lock:
            self.asked.append(("read_metadata", run.run_id))
            self._refuse_if_throttled()
            if self._take_fault("metadata", run.run_id):
                raise SourceError("the metadata does not download", RunFailureKind.SERVER_ERROR)
            return copy.deepcopy(self._find(run).metadata)

    def list_artifacts(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        """Give the versions in the collections that moved, and the links of the runs asked for.

        Without a manifest that is known, and in pages.
        """
        with self.lock:
            self.asked.append(("list_records", "artifacts", known.runs))
            self._refuse_if_throttled()
            fails = self._take_fault("records", "artifacts")
            collections = copy.deepcopy(self.collections)
            links = copy.deepcopy(self.links)
        marks = {name: f"{len(nodes)} {nodes}" for name, nodes in collections.items()}
        same = [name for name, mark in marks.items() if known.marks.get(name) == mark]
        nodes = [node for name in collections if name not in same for node in collections[name]]
        for node in nodes:
            artifact = node["artifact"]
            is_known = manifest_id(artifact["id"], artifact["digest"]) in known.contents
            if known.listing_only or is_known:
                node.pop("manifest", None)
            elif "manifest" in node:
                self.asked.append(("read_manifest", node["artifact"]["id"]))
        yield RecordPage(nodes=(), total=len(nodes), same=same, marks=marks)
        for start in range(0, len(nodes), self.runs_per_page):
            yield RecordPage(nodes=nodes[start : start + self.runs_per_page], total=len(nodes))
            if fails:
                raise SourceError("the listing broke off", RunFailureKind.UNREACHABLE)
        found = {run_id: links.get(run_id, {"outputs": [], "inputs": []}) for run_id in known.runs}
        yield RecordPage(nodes=(), total=len(nodes), links=found, beside=self.beside)

    def list_sweeps(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        """Give the sweeps as they are when asked for, and their count."""
        return self._list_records("sweeps", counted=True)

    def list_reports(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        """Give the reports as they are when asked for; W&B does not count them."""
        return self._list_records("reports", counted=False)

    def _list_records(self, dataset: str, *, counted: bool) -> Iterator[RecordPage]:
        with self.lock:
            self.asked.append(("list_records", dataset))
            self._refuse_if_throttled()
            fails = self._take_fault("records", dataset)
            nodes = copy.deepcopy(self.records[dataset])
        total = len(nodes) + self.count_offsets.get(dataset, 0) if counted else None
        for start in range(0, max(1, len(nodes)), self.runs_per_page):
            page = nodes[start : start + self.runs_per_page]
            there = [node for node in page if node is not None]
            yield RecordPage(nodes=there, total=total, nulls=len(page) - len(there))
            if fails:
                raise SourceError("the listing broke off", RunFailureKind.UNREACHABLE)

    def close(self) -> None:
        """Count how often it was closed."""
        self.closed += 1

    def admits(self, scope: RunScope, run: MemoryRun) -> bool:
        """Say whether W&B lists a run within a scope."""
        if scope.filters is not None:
            assert self.judge is not None, "this project cannot judge filters"
            if not self.judge(scope.filters, run):
                return False
        return all(
            self._is_wanted(criterion, getattr(scope, criterion.field), run)
            for criterion in CRITERIA
        )

    def _is_wanted(self, criterion: Criterion, wanted: Any, run: MemoryRun) -> bool:
        own = getattr(run, criterion.of_run)
        if not wanted:
            return True
        if criterion.operator is Operator.FROM:
            return epoch(spell_time(own)) >= epoch(wanted)
        if criterion.operator is Operator.BEFORE:
            return epoch(spell_time(own)) < epoch(wanted)
        return any(value in wanted for value in own) if isinstance(own, list) else own in wanted

    def _refuse_if_throttled(self) -> None:
        if self._take_fault("throttle", ANY_RUN):
            raise SourceError("429: too many requests", RunFailureKind.THROTTLED)

    def _change(self, run_id: str) -> "_Change":
        return _Change(self, self.runs[run_id])

    def _find(self, run: RunListing) -> MemoryRun:
        found = self.runs.get(run.run_id)
        if found is None or run.storage_id not in (None, found.storage_id):
            reason = f"run {run.run_id!r} is not there"
            raise SourceError(reason, RunFailureKind.NOT_FOUND, retryable=False)
        return found

    def _take_fault(self, name: str, run_id: str | None) -> bool:
        due = self._faults[name, run_id] > 0
        self._faults[name, run_id] -= due
        return due


class _Change:
    """Holds the lock while a run changes, then moves its heartbeat."""

    def __init__(self, source: MemorySource, run: MemoryRun) -> None:
        self._source = source
        self._run = run

    def __enter__(self) -> MemoryRun:
        self._source.lock.acquire()
        return self._run

    def __exit__(self, *_: object) -> None:
        self._run.heartbeat_at = self._source.now
        self._source.lock.release()
