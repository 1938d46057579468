"""Compute from rows what W&B's Python client (SDK 0.17 and before) did not write to its files.

Rules (sdk/internal/handler.py of SDK 0.10.33 to 0.17.9; measured with the same)
- The summary is the last value of each key of the rows, nested objects as they are.
- Once a metric is defined, its summary is what the definition asks for (least, mean, ...), and
  members of a nested object have one only if they are defined themselves.
- A key that matches a glob becomes a metric at the first row that has it. The first glob that was
  defined counts.
- Keys of rows are the text that an export holds: a lone surrogate is an escape.
- Rows and definitions count in the order of the file, however many are read at a time.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from returns.result import Success

from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.contract.values import text_keys
from dr_wandb.core.offline.decoding import decode_record
from dr_wandb.core.offline.framing import Frames, read_parts
from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.metrics import (
    BEST,
    COPY,
    DEFINED,
    LAST,
    MAX,
    MAXIMIZE,
    MEAN,
    MIN,
    NONE,
    Metric,
    define,
    define_with_axis,
)
from dr_wandb.core.offline.parts import sort_records
from dr_wandb.core.offline.records import HistoryRecord, MetricRecord
from dr_wandb.core.offline.rows import last_of_rows, rows_one_by_one
from dr_wandb.core.offline.run import Replay
from dr_wandb.core.offline.text import json_or_text
from dr_wandb.core.offline.tree import Path

MOST_LEVELS = 100
"""Levels of nesting that are searched for metrics."""


def replayed(
    data: Buffer,
    end: int,
    before: Replay,
    *,
    has_metrics: bool,
    after_part: Callable[[], None],
) -> Replay:
    """Continue an earlier replay of a file, up to the end of a record.

    has_metrics: the file defines metrics, so the order of its records matters.
    """
    client = _Client(before)
    content = memoryview(data)[:end]
    for frames in read_parts(content, before.end):
        if has_metrics:
            for payload in _in_order(content, frames):
                client.take(payload)
        else:
            client.take_all(content, frames)
        after_part()
    return client.replay(end)


def _in_order(data: Buffer, frames: Frames) -> Iterator[bytes]:
    bounds = zip(frames.starts.tolist(), frames.ends.tolist(), strict=True)
    payloads = [(start, bytes(data[start:end])) for start, end in bounds]
    payloads += [(joined.offset, joined.content) for joined in frames.joined]
    return (payload for _, payload in sorted(payloads))


class _Client:
    """The client's handler of records."""

    def __init__(self, before: Replay) -> None:
        self._summary = dict(before.summary)
        self._metrics = {metric.name: metric for metric in before.metrics}
        self._globs = {glob.glob: glob for glob in before.globs}
        self._matches_none: set[str] = set()
        self._tracked = {path: float(text) for path, text in before.tracked}

    def replay(self, end: int) -> Replay:
        """Return the replay so far."""
        return Replay(
            end=end,
            summary={key: plain_form(value) for key, value in self._summary.items()},
            metrics=tuple(self._metrics.values()),
            globs=tuple(self._globs.values()),
            tracked=tuple((path, repr(value)) for path, value in self._tracked.items()),
        )

    def take_all(self, data: Buffer, frames: Frames) -> None:
        """Add the rows of a part of a file without definitions."""
        records = sort_records(data, frames)
        last = last_of_rows(records)
        if last is not None:
            self._summary.update((path[0], json_or_text(text)) for path, text in last.items())
            return
        for row in rows_one_by_one(records):
            self._summary.update(row)

    def take(self, payload: bytes) -> None:
        """Add one record."""
        match decode_record(payload):
            case Success(MetricRecord(metric=metric)) if metric.name:
                define_with_axis(self._metrics, metric)
            case Success(MetricRecord(metric=metric)) if metric.glob:
                define(self._globs, metric)
                self._matches_none.clear()
            case Success(HistoryRecord(row=row)):
                self._take_row(_with_clean_keys(row, 0))
            case _:
                pass

    def _take_row(self, row: Mapping[str, Any]) -> None:
        if self._globs:
            for path in _leaf_paths((), row):
                self._expand(_spelled(path))
        if not self._metrics:
            self._summary.update(row)
            return
        for key, value in row.items():
            self._sum_up((key,), value, None)

    def _expand(self, key: str) -> None:
        """Make a metric of a key that matches a glob."""
        if key in self._metrics or key in self._matches_none:
            return
        for glob in self._globs.values():
            if glob.matches(key):
                options = tuple(number for number in glob.options if number != DEFINED)
                made = Metric(
                    name=key,
                    axis=glob.axis,
                    options=options,
                    summary=glob.summary,
                    goal=glob.goal,
                )
                define_with_axis(self._metrics, made)
                return
        self._matches_none.add(key)

    def _sum_up(self, path: Path, value: Any, outer: Metric | None) -> None:
        metric = self._metrics.get(_spelled(path), outer)
        if isinstance(value, dict) and "_type" not in value and len(path) < MOST_LEVELS:
            for key, member in value.items():
                self._sum_up((*path, key), member, metric)
            return
        asked = None if metric is None else metric.summary
        if len(path) == 1 and (asked is None or COPY in asked):
            self._summary[path[0]] = value
        if metric is None or asked is None or NONE in asked or not _is_number(value):
            return
        if COPY in asked and len(path) > 1:
            _put(self._summary, path, value)
            return
        self._track(path, value, asked, maximize=metric.goal == MAXIMIZE)

    def _track(self, path: Path, value: Any, asked: tuple[int, ...], *, maximize: bool) -> None:
        """Keep the last, least, greatest, best and mean value, as the definition asks."""
        if LAST in asked:
            _put(self._summary, (*path, "last"), value)
        for name, number, is_best in (("max", MAX, maximize), ("min", MIN, not maximize)):
            best = BEST in asked and is_best
            if number not in asked and not best:
                continue
            before = self._tracked.get((*path, name))
            sign = 1 if number == MAX else -1
            if before is None or sign * float(value) > sign * before:
                self._tracked[(*path, name)] = float(value)
                if number in asked:
                    _put(self._summary, (*path, name), value)
                if best:
                    _put(self._summary, (*path, "best"), value)
        if MEAN in asked:
            total = self._tracked.get((*path, "tot"), 0.0) + float(value)
            many = self._tracked.get((*path, "num"), 0.0) + 1
            self._tracked[(*path, "tot")], self._tracked[(*path, "num")] = total, many
            _put(self._summary, (*path, "mean"), total / many)


def _with_clean_keys(row: Mapping[str, Any], levels: int) -> dict[str, Any]:
    """Return a row whose keys UTF-8 can hold, as in a stored summary."""
    return {
        key: _with_clean_keys(member, levels + 1)
        if type(member) is dict and levels < MOST_LEVELS
        else member
        for key, member in text_keys(row)
    }


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not math.isnan(value)
    except OverflowError:
        return False


def _spelled(path: Path) -> str:
    """Return the name of a metric with these keys."""
    return ".".join(key.replace(".", "\\.") for key in path)


def _leaf_paths(path: Path, value: Any) -> Iterator[Path]:
    """Give the paths of all values but objects, also inside media objects, as the client does."""
    if not isinstance(value, Mapping) or len(path) == MOST_LEVELS:
        yield path
        return
    for key, member in value.items():
        yield from _leaf_paths((*path, key), member)


def _put(summary: dict[str, Any], path: Path, value: Any) -> None:
    """Set a member, and make missing objects on its path."""
    inner = summary
    for key in path[:-1]:
        found = inner.get(key)
        inner[key] = inner = dict(found) if isinstance(found, dict) else {}
    inner[path[-1]] = value
