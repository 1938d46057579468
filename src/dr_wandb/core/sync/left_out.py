"""Fields of a run that a server does not know because it is older than this tool.

Rules
- A field is skipped only if the server says in words that it does not know it. Without one of
  `REQUIRED` no export can be made.
- A held run keeps the stored value of a skipped field: that is no change. A new run has the
  default.
- Once the server knows the field it is read, and is a change only if it differs.

Everything here is total and pure.
"""

import re
from collections.abc import Collection, Iterable

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from dr_wandb.core.contract.dataset import DATASETS, PROJECT_DATASETS
from dr_wandb.core.contract.records import RunUser, WandbRun

LISTED = (
    *("id", "name", "displayName", "state", "config", "group", "jobType", "commit", "readOnly"),
    *("createdAt", "heartbeatAt", "description", "notes", "tags", "sweepName", "projectId"),
    *("systemMetrics", "summaryMetrics", "historyLineCount", "historyKeys"),
    *("user.name", "user.username"),
)
"""The fields that every listing requests of a run: the SDK's full fragment (wandb 0.31.0)."""

COUNTS = "runCount"
"""The project's count of runs. Without it nothing shows that a listing is complete."""


def listed_fields(datasets: Iterable[str]) -> tuple[str, ...]:
    """Return the fields that a listing requests for these datasets."""
    asked = (DATASETS.get(name) or PROJECT_DATASETS[name] for name in datasets)
    return (*LISTED, *dict.fromkeys(name for one in asked for name in one.listed))


def is_counter(field: str) -> bool:
    """Say whether a field only helps to notice new rows of a dataset: no stored field has it."""
    return field not in LISTED


REQUIRED = frozenset(
    {
        *("name", "id", "createdAt", "state", "config", "summaryMetrics", "historyKeys"),
        "historyLineCount",
    }
)

_STORED = {
    "config": ("config", "wandb_config"),
    "summaryMetrics": ("summary_metrics",),
    "displayName": ("display_name", "name"),
    "group": ("group",),
    "jobType": ("job_type",),
    "commit": ("commit",),
    "readOnly": ("read_only",),
    "heartbeatAt": ("heartbeat_at",),
    "description": ("description",),
    "notes": ("notes",),
    "tags": ("tags",),
    "sweepName": ("sweep_name",),
    "projectId": ("project_id",),
    "systemMetrics": ("system_metrics",),
}
"""The fields of a stored run that each listed field fills."""

_UNKNOWN = re.compile(r"Cannot query field\W{1,3}(\w+)\W{1,3}on (?:type)?\W{0,3}(\w+)")
"""The words of servers, in whichever quotes they use; older servers omit `type`."""


def unknown_fields(text: str) -> tuple[str, ...]:
    """Return the fields requested by a listing that an error says the server does not know.

    They are named as in `listed_fields`, or `COUNTS`.
    """
    named = (_name(field, kind) for field, kind in _UNKNOWN.findall(text))
    return tuple(dict.fromkeys(name for name in named if name))


def unknown_names(text: str) -> frozenset[str]:
    """Return the names of all fields that an error says the server does not know."""
    return frozenset(field for field, _ in _UNKNOWN.findall(text))


def _name(field: str, kind: str) -> str:
    if kind == "Project":
        return COUNTS if field == COUNTS else ""
    if kind != "Run":
        field = f"user.{field}"
    known = (*listed_fields((*DATASETS, *PROJECT_DATASETS)), "user")
    return field if field in known else ""


def leave_out(
    left_out: Collection[str], unknown: Iterable[str]
) -> Result[frozenset[str], tuple[str, ...]]:
    """Return the fields to skip from now on; the failure names unknown fields that are required."""
    unknown = set(unknown)
    if missing := unknown & REQUIRED:
        return Failure(tuple(sorted(missing)))
    if "user" in unknown:
        unknown = (unknown - {"user"}) | {"user.name", "user.username"}
    return Success(frozenset({*left_out, *unknown}))


def with_stored(run: WandbRun, stored: WandbRun, left_out: Collection[str]) -> WandbRun:
    """Return a listed run with the stored values of the skipped fields.

    stored: the same run as it is held. Names that no listing requests are ignored.
    """
    kept = {
        name: getattr(stored, name)
        for field in left_out
        if field in _STORED
        for name in _STORED[field]
    }
    if not {"user.name", "user.username"}.isdisjoint(left_out):
        kept["user"] = _user(run.user or RunUser(), stored.user or RunUser(), left_out)
    return replace(run, **kept)


def _user(listed: RunUser, stored: RunUser, left_out: Collection[str]) -> RunUser | None:
    user = RunUser(
        username=stored.username if "user.username" in left_out else listed.username,
        name=stored.name if "user.name" in left_out else listed.name,
    )
    return None if user == RunUser() else user
