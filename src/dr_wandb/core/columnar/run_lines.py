"""Decode lines of `runs.jsonl` as far as columns need it.

Rules
- The objects of a run stay bytes, spelled as in the line. Of these, only `config` and
  `summary_metrics` are decoded, for the columns of their keys.
- The other fields are those of WandbRun, with its types and defaults.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec
from msgspec.structs import fields

from dr_wandb.core.columnar.scalars import Scalars, scalars_by_key
from dr_wandb.core.contract.records import WandbRun

_OBJECTS = frozenset(
    {
        "config",
        "wandb_config",
        "summary_metrics",
        "system_metrics",
        "history_keys",
        "metadata",
    }
)
_NULL = msgspec.Raw(b"null")
_EMPTY = msgspec.Raw(b"{}")


class RunLines(NamedTuple):
    """Some runs, and the values in the two objects of them whose members get columns, by key."""

    runs: list[Any]
    config: Mapping[str, Scalars]
    summary: Mapping[str, Scalars]


class _LastStep(msgspec.Struct):
    """The member of `history_keys` that has a column."""

    last_step: Any = msgspec.field(default=None, name="lastStep")


def decode_runs(lines: bytes) -> RunLines:
    """Decode complete lines of `runs.jsonl`, in our form.

    Raises ValueError or RecursionError if one of them does not read.
    """
    if not lines.isascii():
        str(lines, "utf-8")  # the decoder skips texts unseen
    runs = _LINES.decode_lines(lines)
    return RunLines(
        runs,
        scalars_by_key([_MEMBERS.decode(one.run.config) for one in runs]),
        scalars_by_key([_MEMBERS.decode(one.run.summary_metrics) for one in runs]),
    )


def json_of(held: msgspec.Raw) -> bytes | None:
    """Return an object of a run as JSON, None if it is null."""
    return None if held == _NULL else bytes(held)


def last_step_of(run: Any) -> int | None:
    """Return `historyKeys.lastStep` of a run if it is a real integer."""
    if run.history_keys == _NULL:
        return None
    last_step = _STEPS.decode(run.history_keys).last_step
    return last_step if type(last_step) is int else None


def _type_of_lines() -> Any:
    """Return the type of a line: a snapshot whose objects are left as they are."""
    members: list[Any] = []
    for field in fields(WandbRun):
        if field.name in _OBJECTS:
            default = _NULL if field.default is None else _EMPTY
            members.append((field.name, msgspec.Raw, default))
        elif field.required:
            members.append((field.name, field.type))
        elif field.default_factory is not msgspec.NODEFAULT:
            factory = msgspec.field(default_factory=cast("Any", field.default_factory))
            members.append((field.name, field.type, factory))
        else:
            members.append((field.name, field.type, field.default))
    run = msgspec.defstruct("Run", members, kw_only=True, gc=False)
    return msgspec.defstruct("Line", [("run", run), ("exported_at", str)], gc=False)


_LINES = msgspec.json.Decoder(_type_of_lines())
_MEMBERS = msgspec.json.Decoder(dict[str, Any])
_STEPS = msgspec.json.Decoder(_LastStep)
