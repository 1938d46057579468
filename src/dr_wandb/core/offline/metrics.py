"""The metrics that a script defined, as W&B's clients upload them: `_wandb.m` of the config.

Rules (measured with SDK 0.10.33 to 0.31.0)
- A metric is an object keyed by the numbers of the fields of `MetricRecord`, and names its axis by
  its number in the list, from 1 on.
- The Python client lists metrics in the order in which it first knows them; an axis that was not
  defined comes before its metric. wandb-core lists them in random order, an axis right after the
  first metric that needs it; here they are in the order in which they were defined.
- A definition adds to those before it, or replaces them if the script said so (`overwrite`).
- wandb-core keeps neither `best` nor `copy` of a summary, and lists a glob only if it did not write
  the metrics that match it into the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.records import Record
from dr_wandb.core.offline.text import text_of

STEP_SYNC, HIDDEN, DEFINED = 1, 2, 3
"""Numbers of options."""

MIN, MAX, MEAN, BEST, LAST, NONE, COPY, FIRST = range(1, 9)
"""Numbers of summaries."""

MAXIMIZE = 2

_OF_CORE = frozenset({MIN, MAX, MEAN, LAST, NONE, FIRST})

LISTS_GLOBS = (0, 21)
"""The first version of wandb-core that can leave globs to the server."""

REPLACES_SUMMARIES = (0, 18)
"""The version of wandb-core in which a definition replaces the summaries of one before."""


class Metric(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A definition. Either `name` or `glob` is set. axis: its own step metric, "" for none.

    options, summary: the numbers of those that are set; summary is None if the record has none.
    goal: 0 for none. replaces: it replaces those before it.
    """

    name: str = ""
    glob: str = ""
    axis: str = ""
    options: tuple[int, ...] = ()
    summary: tuple[int, ...] | None = None
    goal: int = 0
    replaces: bool = False

    def matches(self, key: str) -> bool:
        """Say whether a key of a row matches this glob. W&B's own keys never do."""
        glob = self.glob
        return glob.endswith("*") and key.startswith(glob[:-1]) and not key.startswith("_")


def metric_of(message: Any) -> Metric:
    """Return the definition that a record holds."""
    return Metric(
        name=text_of(message.name),
        glob=text_of(message.glob_name),
        axis=text_of(message.step_metric),
        options=_numbers(message.options),
        summary=_numbers(message.summary) if message.HasField("summary") else None,
        goal=message.goal,
        replaces=message._control.overwrite,
    )


def _numbers(message: Any) -> tuple[int, ...]:
    return tuple(sorted(field.number for field, _ in message.ListFields()))


def define(known: dict[str, Metric], said: Metric, *, adds_summaries: bool = True) -> None:
    """Add a definition to the known ones, which are keyed by name or glob."""
    key = said.name or said.glob
    before = known.get(key)
    if before is None or said.replaces:
        known[key] = replace(said, replaces=False)
        return
    summary = before.summary
    if said.summary is not None:
        kept = before.summary or () if adds_summaries else ()
        summary = tuple(sorted({*kept, *said.summary}))
    known[key] = replace(
        before,
        axis=said.axis or before.axis,
        options=tuple(sorted({*before.options, *said.options})),
        summary=summary,
        goal=said.goal or before.goal,
    )


def define_with_axis(known: dict[str, Metric], said: Metric) -> None:
    """Add a definition as the Python client does: its axis becomes a metric too."""
    if said.axis and said.axis not in known and said.axis != said.name:
        known[said.axis] = Metric(name=said.axis)
    define(known, said)


def listed_by_python(metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """Return the list that the Python client uploads."""
    listed = list(metrics)
    numbers = {metric.name: number for number, metric in enumerate(listed, 1)}
    entries = []
    for metric in listed:
        entry = _entry(metric, numbers)
        entry |= {"6": list(metric.options)} if metric.options else {}
        entry |= {"7": list(metric.summary)} if metric.summary else {}
        entries.append(entry)
    return entries


def listed_by_core(
    metrics: Sequence[Metric], globs: Iterable[Metric], version: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Return the list that wandb-core uploads, in an order of its own."""
    known = {metric.name: metric for metric in metrics}
    left = [glob for glob in globs if not _is_expanded(glob, metrics)]
    numbers: dict[str, int] = {}
    listed: list[Metric] = []
    for first in [*metrics, *(left if version >= LISTS_GLOBS else ())]:
        metric = first
        while (key := metric.name or metric.glob) and key not in numbers:
            listed.append(metric)
            numbers[key] = len(listed)
            metric = known.get(metric.axis, Metric(name=metric.axis))
    entries = []
    for metric in listed:
        defined = {DEFINED} if metric.name in known else set()  # whatever its record says
        options = {*metric.options} - {DEFINED} | defined
        summary = _OF_CORE.intersection(metric.summary or ())
        lists = {"6": sorted(options), "7": sorted(summary)}
        entries.append(_entry(metric, numbers) | lists)
    return entries


def _is_expanded(glob: Metric, metrics: Iterable[Metric]) -> bool:
    """Say whether a metric was made from a glob: it was not `defined` by itself."""
    return any(DEFINED not in one.options and glob.matches(one.name) for one in metrics)


def _entry(metric: Metric, numbers: Mapping[str, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {"1": metric.name} if metric.name else {"2": metric.glob}
    if metric.axis in numbers:  # not if its client did not list it
        entry["5"] = numbers[metric.axis]
    if metric.goal:
        entry["8"] = metric.goal
    return entry
