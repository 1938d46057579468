"""A model of one run on a W&B server, with the faults that real servers have.

Rules
- The server is deterministic: it changes only through `happen`, `fail` and its clock.
- A listing shows the counts of `listing_lag` seconds ago, an answer the rows of `row_lag` seconds
  ago. State and time of creation are always those of now.
- The line count is the number of logged lines plus `offset`, and never below 0.
- The server remembers each answer that it gave and each row that it ever had, so that a law can say
  what an export could know.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dr_wandb.core.contract.codec import encode_line, row_key
from dr_wandb.core.contract.listing import TERMINAL_STATES, RunListing
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.select import select_rows
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.values import spell_number

RUN_ID = "run"
START = datetime(2026, 1, 2, tzinfo=UTC)

FAULTS = ("middle", "cut", "empty", "error", "stale", "doubled")
LOSSY_FAULTS = ("middle", "cut", "empty", "stale")
SUMMARIES = ("exact", "ulp", "later", "absent")
EXPORTS = ("files", "both", "split", "timeless", "drift")

Event = tuple[Any, ...]
Batch = tuple[list[dict[str, Any]], bool, int]

RowId = tuple[int, int] | bytes
"""Names a row in the laws: step and timestamp in milliseconds, or the line if either is missing.

Rows of one step are at least 40 ms apart, so that two spellings of one time get one name.
"""


class ReadError(Exception):
    """The server did not answer a read."""


@dataclass(frozen=True)
class Answer:
    """What a read brought: batches of raw rows, each live or from a numbered Parquet file."""

    batches: list[Batch]

    @property
    def raw_rows(self) -> Iterator[dict[str, Any]]:
        """Yield every raw row of every batch."""
        return (row for rows, _, _ in self.batches for row in rows)


@dataclass(frozen=True)
class Logged:
    """One line that a run logged: a number that no other line has, and its columns."""

    number: int
    columns: dict[str, Any]

    @property
    def step(self) -> int | None:
        """Return the step, None if the line has none."""
        return self.columns.get("_step")

    @property
    def moment(self) -> float | None:
        """Return the timestamp, None if the line has none."""
        return self.columns.get("_timestamp")


@dataclass(frozen=True)
class Given:
    """An answer that was given: when, of which window, and which rows were in it.

    `accounts`: it had at least as many rows as the last listing had lines. `lost` holds the rows
    that a correct answer of this moment would have had besides, `gone` those that it would not.
    `agreed`: the answer had other rows than the server, but count, last step and last time of the
    listing.
    """

    at: datetime
    start: int | None
    stop: int | None
    fault: str
    rows: frozenset[RowId]
    lost: frozenset[RowId]
    gone: frozenset[RowId]
    accounts: bool
    agreed: bool
    made: int

    @property
    def whole(self) -> bool:
        """Say whether the answer had no window."""
        return self.start is None and self.stop is None


@dataclass
class _Fault:
    kind: str
    reads: int
    seconds: float


def row_id(row: HistoryRow) -> RowId:
    """Name a row in the way that the laws count rows."""
    if row.step is None or row.timestamp is None:
        return encode_line(row)
    return row.step, round(float(row.timestamp) * 1000)


def terminal(state: str) -> bool:
    """Say whether a run in this state has ended."""
    return state in TERMINAL_STATES


@dataclass
class RealServer:
    """One run, as a server holds it and as it shows it."""

    now: datetime = START
    state: str = "running"
    offset: int = 0
    counted: bool = True
    summary: str = "exact"
    listing_lag: float = 0.0
    row_lag: float = 0.0
    lines: list[Logged] = field(default_factory=list)
    made: int = 0
    given: list[Given] = field(default_factory=list)
    past: dict[RowId, int] = field(default_factory=dict)
    listed: RunListing | None = None
    unseen: set[RowId] = field(default_factory=set)
    _number: int = 0
    _exports: dict[int, str] = field(default_factory=dict)
    _moments: list[tuple[datetime, tuple[Logged, ...]]] = field(default_factory=list)
    _faults: list[_Fault] = field(default_factory=list)
    _shown: tuple[Any, frozenset[RowId]] | None = None

    # What happens to the run

    def happen(self, event: Event) -> None:
        """Let one thing happen to the run, see `_event_*`."""
        kind, *arguments = event
        getattr(self, f"_event_{kind}")(*arguments)
        self._remember()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def fail(self, kind: str, reads: int = 1, seconds: float = 30.0) -> None:
        """Answer the next reads wrongly. `seconds` is how old a stale answer is."""
        self._faults.append(_Fault(kind, reads, seconds))

    def become_honest(self) -> None:
        """End all faults and lags. A wrong count and the summary's time stay as they are."""
        self._faults.clear()
        self.listing_lag = self.row_lag = 0.0

    def _event_wait(self, seconds: float) -> None:
        self.wait(seconds)

    def _event_fault(self, kind: str, reads: int = 1, seconds: float = 30.0) -> None:
        self.fail(kind, reads, seconds)

    def _event_lag(self, listing: float, rows: float) -> None:
        self.listing_lag, self.row_lag = listing, rows

    def _event_state(self, state: str) -> None:
        self.state = state

    def _event_summary(self, summary: str) -> None:
        self.summary = summary

    def _event_log(self, count: int, gap: int = 1) -> None:
        """Log rows, the first of them `gap` steps above the last step."""
        first = gap + (-1 if self.last_step is None else self.last_step)
        for step in range(first, first + count):
            self._append(_step=step)

    def _event_late(self, step: int) -> None:
        """Log a row at a step that was passed already, as a second process of the run does."""
        self._append(_step=min(step, self.last_step or 0))

    def _event_stepless(self) -> None:
        self._append()

    def _event_untimed(self) -> None:
        """Log a row that has a step and no time."""
        self._append(_step=1 + (-1 if self.last_step is None else self.last_step))
        del self.lines[-1].columns["_timestamp"]

    def _event_twin(self) -> None:
        """Log a row without step and time that equals all others of its kind."""
        self._append()
        self.lines[-1].columns.clear()
        self.lines[-1].columns["loss"] = 1.0

    def _event_rewind(self, step: int) -> None:
        """Drop the rows above a step."""
        self.lines = [line for line in self.lines if line.step is None or line.step <= step]

    def _event_recount(self, offset: int) -> None:
        """Count the lines in another way from now on."""
        self.offset = offset

    def _event_forget(self) -> None:
        """Give up the newest row without a step."""
        stepless = [line for line in self.lines if line.step is None]
        if stepless:
            self.lines.remove(stepless[-1])

    def _event_reset(self) -> None:
        """Clear the history, as `resume="never"` with a known id does: the run is the same."""
        self.lines, self.state = [], "running"

    def _event_anew(self) -> None:
        """Delete the run and make another one under the same id."""
        self.wait(1)
        self.lines, self.state, self.made = [], "running", self.made + 1
        self._exports.clear()
        self._moments.clear()

    def _event_fork(self, step: int, over: int) -> None:
        """Make a fork under the id: its rows begin above `step`, and `over` parent rows count."""
        self._event_anew()
        self.offset = over
        self._append(_step=step + 1)

    def _event_rewrite(self, index: int) -> None:
        """Log a row in the middle again: count, last step and last time stay as they are."""
        inner = [
            line for line in self.lines[:-1] if line.step is not None and line.moment is not None
        ]
        if not inner:
            return
        old = inner[index % len(inner)]
        columns = {**old.columns, "_timestamp": (old.moment or 0.0) + 0.04, "loss": -1.0}
        self._number += 1
        new = Logged(self._number, columns)
        self.lines[self.lines.index(old)] = new
        self.unseen |= {*self._ids((old, new))}

    def _event_export(self, layout: str) -> None:
        """Export all rows that the run has now to Parquet, see `_lay_out`."""
        self._exports = {line.number: layout for line in self.lines}

    def _append(self, **columns: Any) -> None:
        self.wait(0.5)
        self._number += 1
        moment = self.now.timestamp() + (self._number % 7) * 1e-6
        value = self._number / 8
        names = (
            ("loss", "acc") if self._number % 4 == 0 else (("acc", "loss")[self._number % 3 > 0],)
        )
        self.lines.append(
            Logged(
                self._number,
                {"_timestamp": moment, **dict.fromkeys(names, value), **columns},
            )
        )
        self._remember()

    def _remember(self) -> None:
        self._moments.append((self.now, tuple(self.lines)))
        for row in self.truth():
            self.past[row_id(row)] = self.made

    # What the run is

    @property
    def last_step(self) -> int | None:
        """Return the largest step of the rows that the run has."""
        return _last_step(self.lines)

    @property
    def created_at(self) -> str:
        """Return when this run was made: another second each time."""
        return (START + timedelta(days=self.made)).isoformat().replace("+00:00", "Z")

    @property
    def counted_lines(self) -> int:
        """Return the line count that a listing without lag shows."""
        return max(0, len(self.lines) + self.offset)

    @property
    def hidden(self) -> int:
        """Return by how many rows the count is too low; an unknown count hides every row."""
        count = self.counted_lines if self.counted else 0
        return max(0, len({*self.truth_ids()}) - count)

    @property
    def surplus(self) -> int:
        """Return by how many rows the count is too high, 0 if it is not."""
        return max(0, self.counted_lines - len({*self.truth_ids()}))

    def truth(self) -> list[HistoryRow]:
        """Return the rows that the run has, each once, in stored order."""
        by_line = {
            encode_line(row): row
            for row in (normalize_row(self._spelled(line), RUN_ID) for line in self.lines)
        }
        return [
            by_line[line]
            for line in sorted(
                by_line,
                key=lambda line: (row_key(by_line[line].step, by_line[line].timestamp), line),
            )
        ]

    def truth_ids(self) -> list[RowId]:
        """Return the names of the rows that the run has."""
        return [row_id(row) for row in self.truth()]

    def expected(self, selection: HistorySelection = EVERYTHING) -> list[bytes]:
        """Return the lines that a whole read of the honest server would be stored as."""
        return [encode_line(row) for row in select_rows(self.truth(), selection)]

    # What the server says

    def listing(self) -> RunListing:
        """List the run with the counts of `listing_lag` seconds ago."""
        lines = self._lines_at(self.listing_lag)
        listing = self._list(lines)
        self._compare(listing, frozenset(self._ids(lines)))
        self.listed = listing
        return listing

    def _list(self, lines: Collection[Logged]) -> RunListing:
        return RunListing(
            run_id=RUN_ID,
            storage_id=None,
            state=self.state,
            created_at=self.created_at,
            heartbeat_at=self.now.isoformat().replace("+00:00", "Z"),
            history_line_count=max(0, len(lines) + self.offset) if self.counted else None,
            last_step=_last_step(lines),
            fingerprint=f"{self.state} {self.made}",
            last_logged_at=self._summary_time(lines),
        )

    def _compare(self, listing: RunListing, ids: frozenset[RowId]) -> None:
        """Note which rows changed though the listing shows what the one before it showed."""
        logged = listing.last_logged_at
        signal = (
            self.made,
            listing.history_line_count,
            listing.last_step,
            None if logged is None else round(float(logged), 5),
        )
        if self._shown is not None and self._shown[0] == signal:
            self.unseen |= self._shown[1] ^ ids
        self._shown = (signal, ids)

    def read(self, window_start: int | None = None, window_stop: int | None = None) -> Answer:
        """Read the rows of a window, or all of them; what is wrong is up to the faults.

        A row without a step counts as step 0. Raises ReadError.
        """
        fault = self._next_fault()
        kind = "" if fault is None else fault.kind
        if kind == "error":
            raise ReadError("the server did not answer")
        age = self.row_lag + (fault.seconds if fault is not None and kind == "stale" else 0.0)
        inside = _inside(self._lines_at(age), window_start, window_stop)
        kept = _spoil(inside, kind)
        batches = self._lay_out(kept)
        answer = Answer([*batches, *batches] if kind == "doubled" else batches)
        self._note(kept, kind, window_start, window_stop)
        return answer

    def _next_fault(self) -> _Fault | None:
        if not self._faults:
            return None
        fault = self._faults[0]
        fault.reads -= 1
        if fault.reads <= 0:
            del self._faults[0]
        return fault

    def _note(self, kept: list[Logged], kind: str, start: int | None, stop: int | None) -> None:
        truth = _inside(self.lines, start, stop)
        numbers = {line.number for line in kept}
        listing = self.listed or self._list(self._lines_at(self.listing_lag))
        differs = numbers != {line.number for line in truth}
        accounts = len(kept) >= (listing.history_line_count or 0)
        agrees = (
            accounts
            and _last_step(kept) == listing.last_step
            and self._summary_time(kept) == listing.last_logged_at
        )
        self.given.append(
            Given(
                at=self.now,
                start=start,
                stop=stop,
                fault=kind,
                rows=frozenset(self._ids(kept)),
                gone=frozenset(self._ids(kept)) - frozenset(self._ids(truth)),
                lost=frozenset(self._ids(line for line in truth if line.number not in numbers)),
                accounts=accounts,
                agreed=differs and agrees,
                made=self.made,
            )
        )

    def _ids(self, lines: Iterable[Logged]) -> Iterator[RowId]:
        return (row_id(normalize_row(self._spelled(line), RUN_ID)) for line in lines)

    def _lines_at(self, age: float) -> tuple[Logged, ...]:
        moment = self.now - timedelta(seconds=age)
        before = [lines for at, lines in self._moments if at <= moment]
        if before:
            return before[-1]
        return () if self._moments else tuple(self.lines)

    def _summary_time(self, lines: Iterable[Logged]) -> str | None:
        moments = [line.moment for line in lines if line.moment is not None]
        if not moments or self.summary == "absent":
            return None
        moment = moments[-1]
        if self.summary == "ulp":
            moment = math.nextafter(moment, math.inf)
        return spell_number(moment + 1.25 if self.summary == "later" else moment)

    def _spelled(self, line: Logged) -> dict[str, Any]:
        """Return the columns of a line; an export may spell the time one unit higher."""
        if self._exports.get(line.number) != "drift" or line.moment is None or line.step is None:
            return line.columns
        return {**line.columns, "_timestamp": math.nextafter(line.moment, math.inf)}

    def _lay_out(self, lines: Iterable[Logged]) -> list[Batch]:
        """Return rows in the batches that a scan gives: two Parquet files, and the live rows.

        `files`: each exported row in one of both files, by its step. `both`: in a file and live.
        `split`: `acc` is in the second file. `timeless`: as `split`, and the second file has no
        times. `drift`: in one file, with times that are spelled one unit higher.
        """
        held = list(lines)
        steps = [line.step for line in held]
        first: list[dict[str, Any]] = []
        second: list[dict[str, Any]] = []
        live: list[dict[str, Any]] = []
        for line in held:
            layout = self._exports.get(line.number, "")
            columns = self._spelled(line)
            if layout in ("", "both"):
                live.append(columns)
            if layout in ("both", "drift"):
                first.append(columns)
            elif layout == "files":
                (first if (line.step or 0) % 2 else second).append(columns)
            elif layout in ("split", "timeless"):
                keyed = line.step is not None and line.moment is not None
                alone = keyed and "acc" in columns and steps.count(line.step) == 1
                if not alone and (layout == "timeless" or not keyed or "acc" not in columns):
                    first.append(columns)
                    continue
                dropped = "_timestamp" if layout == "timeless" else ""
                first.append({key: value for key, value in columns.items() if key != "acc"})
                second.append(
                    {key: columns[key] for key in ("_step", "_timestamp", "acc") if key != dropped}
                )
        batches = ((first, False, 0), (second[::-1], False, 1), (live, True, 0))
        return [batch for batch in batches if batch[0]]


def _last_step(lines: Iterable[Logged]) -> int | None:
    return max((line.step for line in lines if line.step is not None), default=None)


def _inside(lines: Iterable[Logged], start: int | None, stop: int | None) -> list[Logged]:
    low = 0 if start is None else start
    return [
        line
        for line in lines
        if (line.step or 0) >= low and (stop is None or (line.step or 0) < stop)
    ]


def _spoil(lines: list[Logged], kind: str) -> list[Logged]:
    """Lose the middle third of an answer, its last third, or all of it; at least one row."""
    page = max(1, len(lines) // 3)
    match kind:
        case "empty":
            return []
        case "cut":
            return lines[:-page]
        case "middle":
            begin = max(0, (len(lines) - page) // 2)
            return [*lines[:begin], *lines[begin + page :]]
        case _:
            return lines
