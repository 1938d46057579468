"""How a script defined its metrics.

Rules (measured with SDK 0.10.33 to 0.31.0)
- A definition adds to those before it, or replaces them if the script said so (`overwrite`).
- The Python client defines an axis too, if that was not done before.
"""

from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.records import Record
from dr_wandb.core.offline.schema import text_of

DEFINED = 3
"""The number of the option that a script defined the metric itself."""

MIN, MAX, MEAN, BEST, LAST, NONE, COPY, FIRST = range(1, 9)
"""Numbers of summaries."""

MAXIMIZE = 2

REPLACES_SUMMARIES = (0, 18)
"""The version of wandb-core in which a definition replaces the summaries of one before."""


class Metric(Record, frozen=True, kw_only=True):
    """A definition. Either `name` or `glob` is set. axis: its own step metric, "" for none.

    options, summary: the numbers of those that are set; summary is None if nothing is said of it.
    goal: 0 for none. replaces: those before it are void.
    """

    name: str = ""
    glob: str = ""
    axis: str = ""
    options: tuple[int, ...] = ()
    summary: tuple[int, ...] | None = None
    goal: int = 0
    replaces: bool = False

    def matches(self, key: str) -> bool:
        """Say whether a key of a row is one of this glob. W&B's own keys never are."""
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
    """Take a definition into those that are known, by their names or globs."""
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
    """Take a definition as the Python client does: its axis is one too."""
    if said.axis and said.axis not in known and said.axis != said.name:
        known[said.axis] = Metric(name=said.axis)
    define(known, said)
