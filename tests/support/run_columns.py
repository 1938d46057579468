"""A simple model of `runs.parquet`: the columns of runs, and their values, one run at a time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dr_wandb.core.columnar.run_lines import RunLines, decode_runs
from dr_wandb.core.columnar.runs import (
    FIXED,
    Column,
    ColumnType,
    KeyColumn,
    KeySurvey,
    RunColumns,
    microseconds_of,
)
from dr_wandb.core.contract.records import RunSnapshot
from dr_wandb.core.contract.row_shape import is_open
from tests.support.snapshots import lines_of_snapshots

_SCALARS = (str, int, float, bool)
_JSON = msgspec.json.Encoder(order="sorted")


def runs_of(snapshots: Iterable[RunSnapshot]) -> RunLines:
    """Return runs as they are decoded from their lines."""
    return decode_runs(lines_of_snapshots(snapshots))


def columns_of(snapshots: Sequence[RunSnapshot], at_a_time: int = 2) -> RunColumns:
    """Return the columns of runs, counted as often as it takes."""
    survey: KeySurvey | None = KeySurvey()
    columns = RunColumns()
    while survey is not None:
        for start in range(0, len(snapshots), at_a_time):
            survey.add(runs_of(snapshots[start : start + at_a_time]))
        columns, survey = survey.columns(), survey.again()
    return columns


def scalars_of(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts, numbers and booleans in an object, by dotted key."""
    found: dict[str, Any] = {}
    level: list[tuple[str, Mapping[str, Any]]] = [("", members)]
    while level:
        deeper: list[tuple[str, Mapping[str, Any]]] = []
        for prefix, one in level:
            for key, value in sorted(one.items()):
                if isinstance(value, _SCALARS):
                    found.setdefault(f"{prefix}{key}", value)
                elif isinstance(value, dict) and is_open(value):
                    deeper.append((f"{prefix}{key}.", value))
        level = deeper
    return found


def row_of(snapshot: RunSnapshot, columns: RunColumns) -> dict[str, Any]:
    """Return the values of a run by the names of the columns, None for those that it lacks."""
    row = {column.name: _fixed(column, snapshot) for column in FIXED}
    for members, part in (
        (snapshot.run.config, columns.config),
        (snapshot.run.summary_metrics, columns.summary),
    ):
        scalars = scalars_of(members)
        row |= {one.column.name: _in_column(scalars.get(one.key), one) for one in part}
    return row


def _in_column(value: Any, column: KeyColumn) -> Any:
    if value is None:
        return None
    if column.column.type == ColumnType.DOUBLE:
        return float(value)
    return _json(value) if column.column.type == ColumnType.JSON else value


def _fixed(column: Column, snapshot: RunSnapshot) -> Any:
    run, name = snapshot.run, column.name
    if name in ("username", "user_name"):
        return run.user and (run.user.username if name == "username" else run.user.name)
    if name == "last_step":
        return _of_64_bits(run.history_keys_last_step)
    value = getattr(snapshot if name == "exported_at" else run, _FIELDS.get(name, name))
    if column.type == ColumnType.TIME:
        return microseconds_of(value)
    if column.type == ColumnType.INTEGER:
        return _of_64_bits(value)
    return _json(value) if column.type == ColumnType.JSON and value is not None else value


_FIELDS = {"summary": "summary_metrics"}


def _of_64_bits(value: int | None) -> int | None:
    return value if value is not None and -(2**63) <= value < 2**63 else None


def _json(value: Any) -> str:
    return _JSON.encode(value).decode()
