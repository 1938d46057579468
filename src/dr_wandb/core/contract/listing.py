"""What a listing says of a run, and what a listing can be asked for.

Rules
- A listing is a tuple of RunListing. It holds no wandb object and any tool can make one.
- A run is identified by its id and the second in which it was created: a run that was deleted and
  made again under the same id is another run. Files know another moment than a server, so times are
  compared only between listings of one kind of source.
- W&B's storage ids are base64 of the names of run, project and entity (recorded in 2023 and 2025):
  they all change if the project is renamed, and a run made again has its old one. They count only
  if a time of creation is not known. Even then, two that name the same run are no difference.
- Queries are values; `answers` defines what they mean, for every source that filters itself.
- A source may use the scope of a query to skip runs, but need not: the caller checks each run
  again.
"""

import base64
from datetime import timedelta

import msgspec

from dr_wandb.core.contract.dataset import HISTORY, Counts
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.records import Record, WandbRun
from dr_wandb.core.contract.scope import RunScope

TERMINAL_STATES = frozenset({"finished", "failed", "crashed", "killed", "preempted"})
"""States of a run whose process has ended. None is final: runs revive. A run in any other state
counts as alive."""

STATES = TERMINAL_STATES | {"running", "pending", "preempting"}
"""Every state of a run that W&B has (wandb.sdk.sweeps.run_state of wandb 0.31.0)."""


class RunListing(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What a listing says of one run. Times are UTC, ISO 8601.

    `fingerprint` is any text that differs when the snapshot differs; "" if it is not known.
    `history_line_count`, `last_step` and `last_logged_at` are about the history, `other_counts`
    about the other datasets, by name.
    """

    run_id: str
    storage_id: str | None = None
    state: str | None = None
    created_at: str | None = None
    heartbeat_at: str | None = None
    history_line_count: int | None = None
    last_step: int | None = None
    fingerprint: str = ""
    last_logged_at: str | None = None
    other_counts: dict[str, Counts] = msgspec.field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        """Say whether the run's process has ended, according to W&B."""
        return self.state in TERMINAL_STATES

    def counts_of(self, dataset: str) -> Counts:
        """Return what the listing says of the rows of a dataset."""
        if dataset != HISTORY:
            return self.other_counts.get(dataset, Counts())
        return Counts(
            line_count=self.history_line_count,
            last_step=self.last_step,
            last_logged_at=self.last_logged_at,
        )


def same_second(one: str | None, other: str | None) -> bool | None:
    """Say whether two times are in the same second, None if one of them is unknown."""
    first = instant(one)
    if first is None or one == other:
        return None if first is None else True
    second = instant(other)
    if second is None:
        return None
    return first.replace(microsecond=0) == second.replace(microsecond=0)


def names_run(storage_id: str, run_id: str) -> bool:
    """Say whether a storage id is W&B's base64 of `Run:v1:<run id>:<project>:<entity>`."""
    try:
        name = base64.b64decode(storage_id, validate=True).decode()
    except ValueError:
        return False
    kind, _, rest = name.partition(":v1:")
    return kind == "Run" and rest.startswith(f"{run_id}:")


def list_run(run: WandbRun, fingerprint: str) -> RunListing:
    """Return the listing of a run that was read with all its fields."""
    last_step = run.history_keys_last_step
    logged = run.summary_metrics.get("_timestamp")
    return RunListing(
        run_id=run.run_id,
        storage_id=run.storage_id,
        state=run.state,
        created_at=run.created_at,
        heartbeat_at=run.heartbeat_at,
        history_line_count=run.history_line_count,
        last_step=None if last_step is None or last_step < 0 else last_step,
        fingerprint=fingerprint,
        last_logged_at=None if logged is None else str(logged),
    )


class EveryRun(
    Record, tag_field="kind", tag="every_run", omit_defaults=True, frozen=True, kw_only=True
):
    """All runs of the project that are in scope."""

    scope: RunScope | None = None


class RunsCreatedSince(
    Record,
    tag_field="kind",
    tag="runs_created_since",
    omit_defaults=True,
    frozen=True,
    kw_only=True,
):
    """The runs in scope that were created at `since` or later (UTC, ISO 8601)."""

    since: str
    scope: RunScope | None = None


class RunsById(Record, tag_field="kind", tag="runs_by_id", frozen=True, kw_only=True):
    """The existing runs with these ids, whatever the scope."""

    run_ids: tuple[str, ...]


ListingQuery = EveryRun | RunsCreatedSince | RunsById


def scope_of(query: ListingQuery) -> RunScope | None:
    """Return the scope of a query, None for every run."""
    return None if isinstance(query, RunsById) else query.scope


def answers(query: ListingQuery, run_id: str, created_at: str | None) -> bool:
    """Say whether a query asks for a run, without its scope."""
    match query:
        case EveryRun():
            return True
        case RunsById(run_ids=run_ids):
            return run_id in run_ids
        case _:
            created, start = instant(created_at), instant(query.since)
            return created is not None and start is not None and created >= start


def earlier(moment: str, by: timedelta) -> str:
    """Return the time that is `by` before `moment`, in the same spelling."""
    at = instant(moment)
    if at is None:
        return moment
    try:
        return (at - by).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return moment
