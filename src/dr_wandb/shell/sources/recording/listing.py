"""Answer listing queries from the recorded ones.

Rules
- The same query gets the same answer, with the counts of the source.
- A complete answer also answers narrower queries: all runs contain any others, and runs created
  since a time contain those created since a later one.
- A run requested by id comes from the last answer that has it, or that would have had it.
- Any other query was not recorded.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dr_wandb.core.contract.failures import DrWandbError, NotRecorded
from dr_wandb.core.contract.listing import (
    EveryRun,
    ListingQuery,
    RunsById,
    RunsCreatedSince,
    answers,
    scope_of,
)
from dr_wandb.core.contract.normalize import instant, normalize_time
from dr_wandb.core.contract.records import Record, snapshot_order
from dr_wandb.shell.sources.recording.format import (
    LISTING_FILE,
    RUNS_FILE,
    ListingAnswer,
    RecordingHead,
    RunLine,
    damaged,
    read_lines,
    read_lines_at,
)


class _Node(Record, frozen=True, kw_only=True):
    """The part of a run that decides its position in a listing."""

    name: Any = None
    created_at: Any = msgspec.field(default=None, name="createdAt")


class _OrderedLine(Record, frozen=True, kw_only=True):
    """The part of a `RunLine` that is held in memory."""

    answer: int
    run: _Node


_ANSWER = msgspec.json.Decoder(ListingAnswer)
_ORDERED = msgspec.json.Decoder(_OrderedLine)
_RUN = msgspec.json.Decoder(RunLine)


class SaidRun(NamedTuple):
    """A recorded run from one answer on, and the offset of its line in `runs.jsonl`.

    left_out: the fields that the source did not know at that answer.
    """

    run_id: str
    answer: int
    offset: int
    created_at: str | None
    left_out: tuple[str, ...] = ()


class ListingAnswerRuns(NamedTuple):
    """The answer to a query: runs, oldest first, and the counts."""

    runs: Sequence[SaidRun]
    matching: int | None
    total: int | None


class _RecordedAnswer(NamedTuple):
    """A recorded answer: its runs, and the ids that its query asked for."""

    answer: ListingAnswer
    runs: dict[str, SaidRun]
    asked: frozenset[str]

    def knows(self, run_id: str) -> bool:
        """Say whether the run is in the answer, or would be if it existed."""
        if run_id in self.runs:
            return True
        everything = isinstance(self.answer.query, EveryRun) and self.answer.query.scope is None
        return self.answer.complete and (everything or run_id in self.asked)

    def holds(self, query: ListingQuery) -> bool:
        """Say whether the answer contains all runs that the query asks for."""
        if scope_of(self.answer.query) not in (None, scope_of(query)):
            return False
        match (self.answer.query, query):
            case (EveryRun(), _):
                return self.answer.complete
            case (RunsCreatedSince(since=recorded), RunsCreatedSince(since=asked)):
                start, later = instant(recorded), instant(asked)
                wider = start is not None and later is not None and start <= later
                return wider and self.answer.complete
        return False

    @property
    def total(self) -> int | None:
        """Return the source's count of all runs, if it gave one."""
        answer = self.answer
        if answer.total is None and isinstance(answer.query, EveryRun):
            return answer.matching
        return answer.total


class RecordedListing:
    """The runs of a project in a recording. Raises DrWandbError if the recording is damaged."""

    def __init__(self, folder: Path, head: RecordingHead) -> None:
        self._folder = folder
        self._said: dict[str, list[SaidRun]] = {}
        for _, offset, line in read_lines(folder / RUNS_FILE, _ORDERED, head.runs):
            created_at = normalize_time(line.run.created_at)
            said = SaidRun(str(line.run.name), line.answer, offset, created_at)
            self._said.setdefault(said.run_id, []).append(said)
        self._answers: list[_RecordedAnswer] = []
        for number, _, answer in read_lines(folder / LISTING_FILE, _ANSWER, head.listings):
            runs = {
                run_id: self._find(run_id, number, answer.left_out) for run_id in answer.run_ids
            }
            asked = answer.query.run_ids if isinstance(answer.query, RunsById) else ()
            self._answers.append(_RecordedAnswer(answer, runs, frozenset(asked)))

    def answer(self, query: ListingQuery) -> ListingAnswerRuns:
        """Answer a query. Raises DrWandbError if its answer was not recorded."""
        for recorded in self._answers:
            if recorded.answer.query == query:
                runs = _oldest_first(recorded.runs.values())
                return ListingAnswerRuns(runs, recorded.answer.matching, recorded.answer.total)
        if isinstance(query, RunsById):
            return self._answer_by_id(query)
        for recorded in reversed(self._answers):
            if recorded.holds(query):
                found = [
                    said
                    for said in recorded.runs.values()
                    if answers(query, said.run_id, said.created_at)
                ]
                return ListingAnswerRuns(_oldest_first(found), len(found), recorded.total)
        raise self._not_recorded(_words(query))

    def read_runs(self, runs: Sequence[SaidRun]) -> list[dict[str, Any]]:
        """Read the nodes of these runs."""
        offsets = [said.offset for said in runs]
        return [line.run for line in read_lines_at(self._folder / RUNS_FILE, offsets, _RUN)]

    def _find(self, run_id: str, number: int, left_out: tuple[str, ...]) -> SaidRun:
        """Return a run as of the answer with this number, without its `left_out` fields."""
        for said in reversed(self._said.get(run_id, ())):
            if said.answer <= number:
                return said._replace(left_out=left_out)
        reason = f"{RUNS_FILE} has no line for run {run_id!r}"
        raise damaged(self._folder / LISTING_FILE, reason, number)

    def _answer_by_id(self, query: RunsById) -> ListingAnswerRuns:
        found: list[SaidRun] = []
        totals = []
        for run_id in dict.fromkeys(query.run_ids):
            recorded = next(
                (recorded for recorded in reversed(self._answers) if recorded.knows(run_id)), None
            )
            if recorded is None:
                raise self._not_recorded(f"run {run_id!r}")
            found.extend(said for said in (recorded.runs.get(run_id),) if said is not None)
            totals.append(recorded.total)
        total = next((total for total in reversed(totals) if total is not None), None)
        return ListingAnswerRuns(_oldest_first(found), len(found), total)

    def _not_recorded(self, question: str) -> DrWandbError:
        return DrWandbError(NotRecorded(path=str(self._folder), question=question))


def _oldest_first(runs: Iterable[SaidRun]) -> list[SaidRun]:
    return sorted(runs, key=lambda said: snapshot_order(said.created_at, said.run_id))


def _words(query: ListingQuery) -> str:
    if isinstance(query, RunsCreatedSince):
        return f"all runs created since {query.since}"
    return "all runs of the project"
