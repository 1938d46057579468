"""Values as they come from W&B and from the people who log to it, hostile ones included."""

import math
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta, timezone
from enum import Enum
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line, row_key
from dr_wandb.core.contract.dataset import HISTORY, Counts
from dr_wandb.core.contract.evidence import Difference, Evidence, Look, Standing
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistorySelection, HistoryWindow
from dr_wandb.core.contract.state import ExportState, RunTracking

RUN_ID = "run"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail the test where its body does not end in time."""

    def stop(_signal: int, _frame: object) -> None:
        raise AssertionError(f"still at work after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- JSON, as any text may hold it


NASTY_TEXTS = (
    "",
    " ",
    ".",
    "a.b",
    "NaN",
    "Infinity",
    "null",
    "1",
    "1.5",
    "true",
    "_",
    "_step",
    "__proto__",
    "\x00",
    "\x1f\x7f",
    "\ufeff",
    "\u2028\u2029",
    "\U0001f600",
    "\ud800",
    "\\ud800",
    "\udc00\ud800",
    '"\\/\b\f\n\r\t',
    "é",
    "e\u0301",
)

texts = st.sampled_from(NASTY_TEXTS) | st.text(st.characters(exclude_categories=()), max_size=6)
clean_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)

NASTY_FLOATS = (
    0.0,
    -0.0,
    4.0,
    0.1,
    1e-5,
    1e-6,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    2.0**53 - 1,
    2.0**53,
    -(2.0**53),
    2.0**53 + 2,
    1e16,
    1e17,
    1e22,
    math.nan,
    math.inf,
    -math.inf,
)
NASTY_INTS = (0, -1, 2**53 - 1, 2**53, 2**53 + 1, -(2**63), 2**64 - 1, 2**64, 10**400, -(10**400))

floats = st.sampled_from(NASTY_FLOATS) | st.floats()
ints = st.sampled_from(NASTY_INTS) | st.integers()
finite_numbers = ints | floats.filter(math.isfinite)
scalars = st.none() | st.booleans() | ints | floats | texts


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)


json_values = st.recursive(scalars, _containers, max_leaves=8)
"""What a JSON text can hold, with NaN, the infinities and lone surrogates."""


def spell_otherwise(value: Any, draw: Any) -> Any:
    """Return an equal value: other key order, 4.0 for 4 and back, tuples for lists."""
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: spell_otherwise(value[key], draw) for key in keys}
    if isinstance(value, list):
        members = [spell_otherwise(member, draw) for member in value]
        return tuple(members) if draw(st.booleans()) else members
    if type(value) is int and abs(value) < 2**53 and draw(st.booleans()):
        return -0.0 if value == 0 and draw(st.booleans()) else float(value)
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value) if draw(st.booleans()) else value
    return value


# --- Python values, as a source written in Python may hand over


class Colour(Enum):
    RED = "red"
    ONE = 1
    HALF = 0.5
    NOTHING = None


class Plain:
    """An object with public and private attributes and a method."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)
        self._private = object()

    def method(self) -> None: ...


class Slotted:
    """An object with slots."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class ArrayLike:
    """What numpy scalars and arrays look like from outside."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def tolist(self) -> Any:
        return self._value


class OtherMapping(Mapping[str, Any]):
    """A mapping that is not a dict, as the SDK's summary is."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def __getitem__(self, key: str) -> Any:
        return self._members[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


zones = st.sampled_from(
    [None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))]
)
datetimes = st.datetimes(timezones=zones)
hashable_foreign = (
    datetimes
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.binary(max_size=4)
    | st.sampled_from(Colour)
    | st.decimals(allow_nan=False).map(lambda value: value.normalize())
    | st.uuids()
    | texts.map(PurePosixPath)
    | st.tuples(ints, texts)
    | st.frozensets(scalars, max_size=3)
)
foreign_keys = scalars | hashable_foreign
foreign_scalars = scalars | hashable_foreign | st.builds(object)


def _foreign_containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        _containers(inner)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(foreign_keys, inner, max_size=3)
        | st.sets(scalars | hashable_foreign, max_size=4)
        | st.dictionaries(texts, inner, max_size=3).map(OtherMapping)
        | st.builds(ArrayLike, inner)
        | st.builds(lambda one, two: SimpleNamespace(one=one, two=two), inner, inner)
        | st.builds(lambda value: Plain(value=value), inner)
    )


python_values = st.recursive(foreign_scalars, _foreign_containers, max_leaves=8)


def nested(levels: int, *, kind: str = "list", core: Any = 7) -> Any:
    """Return a value that is nested this many levels deep."""
    value = core
    for _ in range(levels):
        value = [value] if kind == "list" else {"in": value}
    return value


# --- rows


steps = st.integers(0, 8)
timestamps = st.sampled_from([1700000000, 1700000000.5, 1700000001.25, 1.7e9 + 2]) | st.floats(
    0, 4e9
)
metric_names = st.sampled_from(
    ["loss", "acc", "a", "b", "a.b", "b.c", "a.b.c", "x/y"]
) | texts.filter(lambda key: not key.startswith("_"))


def _metric_containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(metric_names, inner, max_size=3)


metric_values = st.recursive(scalars, _metric_containers, max_leaves=5)
unusable = st.booleans() | texts | st.floats(0.1, 0.9) | st.lists(ints, max_size=2)

raw_rows = st.fixed_dictionaries(
    {},
    optional={
        "_step": steps | unusable | st.dictionaries(texts, scalars, max_size=2) | floats | ints,
        "_timestamp": timestamps | unusable | floats,
        "_runtime": timestamps | unusable | floats | ints,
        "_wandb": st.dictionaries(texts, json_values, max_size=2) | unusable,
        "_own": json_values,
    },
).flatmap(
    lambda own: st.dictionaries(metric_names, metric_values, max_size=4).map(
        lambda metrics: {**metrics, **own}
    )
)
"""Rows as a live history answers them: any JSON under any key."""


@st.composite
def history_rows(draw: Any) -> HistoryRow:
    """Rows of one run that often collide in step, timestamp or content."""
    metrics = {
        name: draw(st.integers(0, 2)) for name in draw(st.sets(st.sampled_from(["loss", "acc"])))
    }
    return HistoryRow(
        run_id=RUN_ID,
        step=draw(st.none() | st.integers(-1, 6)),
        timestamp=draw(st.sampled_from([None, "1", "2", "2.5", "10"])),
        metrics=metrics,
    )


# --- selections and requests


rows_as_received = raw_rows.map(lambda raw_row: normalize_row(raw_row, RUN_ID))
runs_of_rows = st.lists(rows_as_received, max_size=6).map(
    lambda unsorted: sorted(
        unsorted, key=lambda row: (row_key(row.step, row.timestamp), encode_line(row))
    )
)
"""The rows of one run, in stored order."""

windows = st.builds(
    lambda low, width, last: HistoryWindow(
        min_step=low,
        max_step=None if width is None else (low or 0) + width,
        max_records=last,
    ),
    st.none() | st.integers(0, 6),
    st.none() | st.integers(1, 6),
    st.none() | st.integers(1, 4),
)
selection_keys = st.sampled_from(
    ["loss", "acc", "a", "b", "a.b", "b.c", "a.b.c", "x/y", "_step", "_timestamp", "_wandb", "_own"]
)
key_sets = st.none() | st.lists(selection_keys, min_size=1, max_size=3).map(tuple)
selections = st.builds(
    lambda keys, window: HistorySelection(keys=keys, window=window),
    key_sets,
    st.none() | windows,
)
requests = st.builds(
    lambda mode, sync_mode, selection, metadata, page: ExportRequest(
        entity="team",
        project="project",
        name="name",
        mode=mode,
        sync_mode=sync_mode,
        history_selection=selection if mode == ExportMode.HISTORY else None,
        include_metadata=metadata,
        runs_per_page=page,
    ),
    st.sampled_from(ExportMode),
    st.sampled_from(SyncMode),
    st.none() | selections,
    st.booleans(),
    st.integers(1, 1000),
)

scopes = st.sampled_from(
    [
        None,
        RunScope(states=("running",)),
        RunScope(tags=("x", "y"), created_after="2024-01-02"),
        RunScope(filters={"notes": "keep"}),
    ]
)

# --- listings and states


INSTANTS = (
    "2024-01-01T00:00:00Z",
    "2024-01-02T00:00:00Z",
    "2024-01-02T00:00:00.123456789Z",
    "2024-06-30T23:59:59Z",
)
times = st.sampled_from((*INSTANTS, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "", "soon"))
good_times = st.sampled_from(INSTANTS)
states_of_runs = st.sampled_from(
    ["running", "pending", "preempting", "finished", "failed", "crashed", "killed", "preempted"]
)
run_ids = st.sampled_from(["a", "b", "c", "d"])
counts64 = st.integers(0, 12) | st.integers(0, 2**63)

listings = st.builds(
    RunListing,
    run_id=run_ids,
    storage_id=st.none() | st.sampled_from(["s1", "s2"]),
    state=st.none() | states_of_runs | clean_texts,
    created_at=st.none() | times,
    heartbeat_at=st.none() | times,
    history_line_count=st.none() | counts64,
    last_step=st.none() | counts64,
    fingerprint=st.sampled_from(["", "f1", "f2"]),
    last_logged_at=st.none() | st.sampled_from(["1", "2", "text"]),
)
history_counts = st.builds(
    Counts,
    line_count=st.none() | counts64,
    last_step=st.none() | counts64,
    last_logged_at=st.none() | st.sampled_from(["1", "2"]),
)
positions = st.builds(
    Position,
    selection=selections,
    rows=st.integers(0, 12),
    whole=st.booleans(),
    last_step=st.none() | st.integers(0, 12),
    last_timestamp=st.none() | st.sampled_from(["1", "2"]),
    boundary_rows=st.integers(0, 2),
    without_step=st.sampled_from([0, 0, None, 1]),
    listed=history_counts,
    short_by=st.integers(0, 2),
)
byte_ranges = st.builds(
    ByteRange,
    offset=st.integers(0, 100),
    length=st.integers(0, 100),
    rows=st.integers(0, 12),
    digest=st.just("d"),
)


evidences = st.builds(
    Evidence,
    standing=st.sampled_from(Standing),
    selection=selections,
    kind=st.sampled_from(["", "emptied", "shrunk", "rewritten", "begins_later"]),
    missing_digest=st.sampled_from(["", "d1", "d2"]),
    missing_rows=st.integers(0, 3),
    since=st.none() | times,
    difference=st.none() | st.integers(-2, 3),
    reads=st.integers(0, 3),
    answer_rows=st.integers(0, 3),
    answer_digest=st.sampled_from(["", "d1"]),
    answers=st.integers(0, 3),
    target=st.none() | history_counts,
    misses=st.integers(0, 3),
)
looks = st.builds(
    Look,
    difference=st.builds(Difference, rows=st.none() | st.integers(-2, 2)),
    since=times,
    confirmed_at=st.none() | times,
    ended=st.booleans(),
)


BROKEN = RunFailure(kind=RunFailureKind.SERVER_ERROR, reason="it broke")
run_failures = st.builds(
    RunFailure, kind=st.sampled_from(RunFailureKind), reason=st.sampled_from(["it broke", ""])
)

parts = st.builds(
    PartTracking,
    stored=st.none() | byte_ranges,
    position=st.none() | positions,
    held=st.none() | positions,
    evidence=st.none() | evidences,
    look=st.none() | looks,
    row_shape=st.just(ROW_SHAPE),
    failure=st.none() | run_failures,
)


def trackings(run_id: st.SearchStrategy[str] = run_ids) -> st.SearchStrategy[RunTracking]:
    """What is known of a run."""
    return st.builds(
        RunTracking,
        run_id=run_id,
        created_at=st.none() | times,
        run_state=st.none() | states_of_runs,
        seen=st.none() | listings,
        fingerprint=st.sampled_from(["", "f1", "f2"]),
        metadata_included=st.booleans(),
        snapshot=st.none() | byte_ranges,
        parts=st.fixed_dictionaries({}, optional={HISTORY: parts}),
        source=st.sampled_from(["", "api", "replay", "offline"]),
        failure=st.none() | run_failures,
        unread=st.none() | run_failures,
        metadata_failure=st.none() | run_failures,
        missing_since=st.none() | times,
        out_of_scope_since=st.none() | times,
    )


def state_of(trackings_: Sequence[RunTracking], **fields: Any) -> ExportState:
    """Return a state that tracks these runs."""
    known = {"name": "name", "entity": "team", "project": "project", **fields}
    return ExportState(runs={tracking.run_id: tracking for tracking in trackings_}, **known)


export_states = st.builds(
    lambda runs, synced, created: state_of(runs, last_exported_at=synced, max_created_at=created),
    st.lists(trackings(), max_size=4),
    st.none() | times,
    st.none() | times,
)

fetch_windows = st.builds(
    lambda start, width: FetchWindow(
        start=start, stop=None if width is None else (start or 0) + width
    ),
    st.none() | st.integers(0, 6),
    st.none() | st.integers(0, 6),
)
received = st.builds(
    Received,
    rows=st.integers(0, 12),
    last_step=st.none() | st.integers(0, 12),
    last_timestamp=st.none() | st.sampled_from(["1", "2"]),
    boundary_rows=st.integers(0, 2),
    without_step=st.sampled_from([0, 0, 0, 1]),
)
