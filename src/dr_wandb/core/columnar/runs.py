"""Runs as columns: which columns `runs.parquet` has, and the value of each run in them.

Rules
- The fixed columns are always there, with the same types. JSON texts are spelled as in
  `runs.jsonl`.
- Beside them each scalar member of `config` and `summary` has a column, at any depth: an object
  without `_type` is entered, and its members get dotted keys. If two members of a run have the same
  dotted key, the one with fewer dots between objects counts.
- The values of all runs decide the type of such a column, so that no value changes: booleans,
  integers of 64 bits, doubles, text. A column of anything else is the JSON of each value, as text.
- Readers fold the case of names. So of names that differ only in case, each is followed by a part
  of its digest: none of them means anything else once there is another one.
- The keys that most runs have get the columns, then those that sort first.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dr_wandb.core.columnar.key_counts import (
    BOOL,
    DOUBLE,
    INTEGER,
    INTEGERS_END,
    LARGE,
    NON_FINITE_WORD,
    ONE_RUN,
    WORD,
    KeyCounts,
)
from dr_wandb.core.columnar.run_lines import RunLines, json_of, last_step_of
from dr_wandb.core.columnar.scalars import NO_SCALARS, Scalars
from dr_wandb.core.contract.normalize import instant

MOST_KEYS = 500
"""The most columns for members of `config`, and for those of `summary`."""

MOST_LETTERS = 200
"""Longer keys have no column."""


class ColumnType(StrEnum):
    """The type of a column. `json` is text too, and `time` a number of microseconds."""

    BOOL = "bool"
    INTEGER = "integer"
    DOUBLE = "double"
    TEXT = "text"
    TEXTS = "texts"
    TIME = "time"
    JSON = "json"


class Column(NamedTuple):
    """A column with a value for each run; None for a run without one."""

    name: str
    type: ColumnType
    always: bool = False


class KeyColumn(NamedTuple):
    """The column of one key of `config` or `summary`."""

    key: str
    column: Column


class RunColumns(NamedTuple):
    """The columns of all keys, by name."""

    config: tuple[KeyColumn, ...] = ()
    summary: tuple[KeyColumn, ...] = ()

    @property
    def all(self) -> list[Column]:
        """Return all columns, the fixed ones first."""
        of_keys = (one.column for one in (*self.config, *self.summary))
        return [*FIXED, *of_keys]

    def values(self, runs: RunLines) -> list[Scalars]:
        """Return the values of some runs in each of the columns. Texts of JSON are bytes."""
        return [
            *(_present(list(map(value, runs.runs))) for value in FIXED.values()),
            *_values(runs.config, self.config),
            *_values(runs.summary, self.summary),
        ]


def _present(values: Sequence[Any]) -> Scalars:
    """Return the values that are not None."""
    at = [index for index, value in enumerate(values) if value is not None]
    if len(at) < len(values):
        values = [values[index] for index in at]
    return Scalars(np.array(at, np.int64), values)


_JSON = msgspec.json.Encoder(order="sorted")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds_of(time: str | None) -> int | None:
    """Return a time as microseconds since 1970 in UTC, without the rest; None if it is no time."""
    moment = instant(time)
    try:
        return None if moment is None else (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except OverflowError:
        return None


def _integer(value: int | None) -> int | None:
    return value if value is not None and -INTEGERS_END <= value < INTEGERS_END else None


_TEXT, _TIME, _OF_JSON = ColumnType.TEXT, ColumnType.TIME, ColumnType.JSON

FIXED: dict[Column, Callable[[Any], Any]] = {
    Column("run_id", _TEXT, always=True): lambda one: one.run.run_id,
    Column("name", _TEXT, always=True): lambda one: one.run.name,
    Column("display_name", _TEXT): lambda one: one.run.display_name,
    Column("entity", _TEXT, always=True): lambda one: one.run.entity,
    Column("project", _TEXT, always=True): lambda one: one.run.project,
    Column("state", _TEXT): lambda one: one.run.state,
    Column("created_at", _TIME): lambda one: microseconds_of(one.run.created_at),
    Column("updated_at", _TIME): lambda one: microseconds_of(one.run.updated_at),
    Column("heartbeat_at", _TIME): lambda one: microseconds_of(one.run.heartbeat_at),
    Column("exported_at", _TIME): lambda one: microseconds_of(one.exported_at),
    Column("storage_id", _TEXT): lambda one: one.run.storage_id,
    Column("project_id", _TEXT): lambda one: one.run.project_id,
    Column("url", _TEXT): lambda one: one.run.url,
    Column("path", ColumnType.TEXTS): lambda one: one.run.path,
    Column("tags", ColumnType.TEXTS, always=True): lambda one: one.run.tags,
    Column("group", _TEXT): lambda one: one.run.group,
    Column("job_type", _TEXT): lambda one: one.run.job_type,
    Column("sweep_name", _TEXT): lambda one: one.run.sweep_name,
    Column("notes", _TEXT): lambda one: one.run.notes,
    Column("description", _TEXT): lambda one: one.run.description,
    Column("commit", _TEXT): lambda one: one.run.commit,
    Column("username", _TEXT): lambda one: one.run.user and one.run.user.username,
    Column("user_name", _TEXT): lambda one: one.run.user and one.run.user.name,
    Column("read_only", ColumnType.BOOL): lambda one: one.run.read_only,
    Column("history_line_count", ColumnType.INTEGER): lambda one: _integer(
        one.run.history_line_count
    ),
    Column("last_step", ColumnType.INTEGER): lambda one: _integer(last_step_of(one.run)),
    Column("config", _OF_JSON, always=True): lambda one: json_of(one.run.config),
    Column("wandb_config", _OF_JSON, always=True): lambda one: json_of(one.run.wandb_config),
    Column("summary", _OF_JSON, always=True): lambda one: json_of(one.run.summary_metrics),
    Column("system_metrics", _OF_JSON): lambda one: json_of(one.run.system_metrics),
    Column("history_keys", _OF_JSON): lambda one: json_of(one.run.history_keys),
    Column("metadata", _OF_JSON): lambda one: json_of(one.run.metadata),
}
"""The columns that are always there, and how to get their values."""


PARTS = ("config.", "summary.")
"""How the names of the columns of keys begin."""


class KeySurvey:
    """Counts the keys of `config` and `summary`."""

    def __init__(
        self, config: "KeyCounts | None" = None, summary: "KeyCounts | None" = None
    ) -> None:
        self._config = config or KeyCounts()
        self._summary = summary or KeyCounts()

    def add(self, runs: RunLines) -> None:
        """Count the keys of some runs."""
        self._config.add(len(runs.runs), runs.config)
        self._summary.add(len(runs.runs), runs.summary)

    def fits(self, columns: RunColumns) -> bool:
        """Say whether all values so far fit into the columns that have their keys."""
        return all(
            not counts.kinds_of(key) & ~_HOLDS[column.type]
            for counts, part in ((self._config, columns.config), (self._summary, columns.summary))
            for key, column in part
        )

    def again(self) -> "KeySurvey | None":
        """Return a survey for which all runs are needed again, None if this one is exact."""
        if self._config.exact and self._summary.exact:
            return None
        return KeySurvey(self._config.again(), self._summary.again())

    def columns(self) -> RunColumns:
        """Return the columns of all runs so far, if the survey is exact."""
        return RunColumns(
            _columns_of("config", self._config.frequent()),
            _columns_of("summary", self._summary.frequent()),
        )


_HOLDS = {
    ColumnType.BOOL: BOOL,
    ColumnType.INTEGER: INTEGER | LARGE,
    ColumnType.DOUBLE: INTEGER | DOUBLE | NON_FINITE_WORD,
    ColumnType.TEXT: WORD | NON_FINITE_WORD,
    ColumnType.JSON: ~0,
}
"""The kinds of values that a column of each type holds as they are; the first type that fits is
taken."""


def _type_of(kinds: int) -> ColumnType:
    """Return the type that holds all values of these kinds as they are."""
    return next(kind for kind, held in _HOLDS.items() if not kinds & ~held)


def columns_with(names: Iterable[tuple[str, ColumnType]]) -> RunColumns:
    """Return the columns of keys that have these names and types.

    The columns of other runs are mostly the same: so they are a guess, which a survey proves.
    """
    parts: dict[str, list[KeyColumn]] = {"config": [], "summary": []}
    for name, kind in names:
        part, _, key = name.partition(".")
        if marked := _MARKED.fullmatch(key):
            key = marked[1] if _digest(marked[1]) == marked[2] else key
        parts[part].append(KeyColumn(key, Column(name, kind)))
    return RunColumns(*map(tuple, parts.values()))


_MARKED = re.compile(r"(.*) \(([0-9a-f]{8})\)", re.DOTALL)


def _columns_of(part: str, found: Mapping[str, int]) -> tuple[KeyColumn, ...]:
    usable = [key for key in found if len(key) <= MOST_LETTERS and key.isprintable()]
    alike = Counter(map(folded, usable))
    chosen = sorted(usable, key=lambda key: (-(found[key] // ONE_RUN), key))[:MOST_KEYS]
    taken = set()
    columns = []
    for key in chosen:
        name = key if alike[folded(key)] == 1 else f"{key} ({_digest(key)})"
        if folded(name) not in taken:
            taken.add(folded(name))
            column = Column(f"{part}.{name}", _type_of(found[key] % ONE_RUN))
            columns.append(KeyColumn(key, column))
    return tuple(sorted(columns, key=lambda one: one.column.name))


def folded(key: str) -> str:
    """Return what is equal for keys that a reader may take for the same."""
    return key.upper().casefold()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def _values(found: Mapping[str, Scalars], columns: tuple[KeyColumn, ...]) -> Iterator[Scalars]:
    for key, (_, kind, _) in columns:
        one = found.get(key, NO_SCALARS)
        values = one.values
        if kind == ColumnType.DOUBLE:
            values = list(map(float, values)) if str in map(type, values) else values
        elif kind == ColumnType.JSON:
            values = list(map(_JSON.encode, values))
        yield Scalars(one.at, values)
