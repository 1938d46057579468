"""Which runs of a project an export follows.

Rules
- Several values of one field widen the scope, several fields narrow it.
- A scope says what is taken up. What was taken up once is kept, also when it leaves the scope.
- Two scopes that say the same compare equal: values are sorted and unique, times are normalized.
- `filters` is judged by W&B alone; everything else here, for every source alike, but for fields of
  a run that the server does not know: there its own filter decides.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec.structs import force_setattr, replace

from dr_wandb.core.contract.normalize import instant, normalize_time
from dr_wandb.core.contract.problems import InvalidRequestError, all_problems
from dr_wandb.core.contract.records import Record, WandbRun
from dr_wandb.core.contract.values import clean_text, decode_json

_NAMES = ("states", "tags", "groups", "sweeps", "run_ids")
_LISTED_AS = {"tags": "tags", "group": "groups", "sweepName": "sweeps"}
"""Fields of a listed run that a server may not know, by the field of a scope that they decide."""

_TIMES = ("created_after", "created_before")


def normalize_moment(value: Any) -> str | None:
    """Return a date or a time as UTC, ISO 8601, ending in `Z`; None where it is neither."""
    if value is None:
        return None
    text = str(value).strip()
    if instant(text) is None:
        return None
    moment = instant(text)
    assert moment is not None
    return normalize_time(moment)


class RunScope(Record, frozen=True, kw_only=True):
    """A choice of runs; a field that is empty or None admits every run.

    `states`, `groups`, `sweeps`, `run_ids`: the run's is one of them. `tags`: it has at least one
    of them. `created_after` is inclusive, `created_before` exclusive (ISO 8601; UTC where no zone
    is given). `filters` is a query in the style of MongoDB, as `Api.runs(filters=...)` takes it.
    Raises InvalidRequestError with every problem found.
    """

    states: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    created_after: str | None = None
    created_before: str | None = None
    filters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        problems = []
        for name in _NAMES:
            values = getattr(self, name)
            values = (values,) if isinstance(values, str) else tuple(values or ())
            if not all(isinstance(value, str) and value.strip() for value in values):
                problems.append(f"{name} must not have a blank value")
                continue
            force_setattr(self, name, tuple(sorted({clean_text(value) for value in values})))
        for name in _TIMES:
            moment = normalize_moment(getattr(self, name))
            if moment is None and getattr(self, name) is not None:
                problems.append(f"{name} must be a date or a time, not {getattr(self, name)!r}")
            force_setattr(self, name, moment)
        if not isinstance(self.filters, Mapping | None):
            problems.append(f"filters must be an object, not {self.filters!r}")
        elif not self.filters:
            force_setattr(self, "filters", None)
        if problems:
            raise InvalidRequestError(problems)

    @property
    def named(self) -> "RunScope":
        """Return the part that can be judged without W&B."""
        return replace(self, filters=None)

    def unseen(self, left_out: Collection[str]) -> tuple[str, ...]:
        """Return the fields of a listed run that were left out, and that this scope asks about."""
        asked = (field for field, name in _LISTED_AS.items() if getattr(self, name))
        return tuple(field for field in asked if field in left_out)

    def without(self, fields: Collection[str]) -> "RunScope":
        """Return the part of it that does not ask about these fields of a listed run."""
        return replace(self, **{_LISTED_AS[field]: () for field in fields})

    def admits(self, run: WandbRun) -> bool:
        """Say whether a run is in scope, `filters` aside."""
        wanted = (
            (self.states, (run.state,)),
            (self.tags, run.tags),
            (self.groups, (run.group,)),
            (self.sweeps, (run.sweep_name,)),
            (self.run_ids, (run.run_id,)),
        )
        return all(not values or set(values) & set(own) for values, own in wanted) and (
            self._admits_time(run.created_at)
        )

    def _admits_time(self, created_at: str | None) -> bool:
        if self.created_after is None and self.created_before is None:
            return True
        created = instant(created_at)
        after, before = instant(self.created_after), instant(self.created_before)
        return (
            created is not None
            and (after is None or created >= after)
            and (before is None or created < before)
        )


EVERY_RUN = RunScope()
"""The scope that admits every run."""


def build_scope(
    *,
    states: Iterable[str] | None = None,
    tags: Iterable[str] | None = None,
    groups: Iterable[str] | None = None,
    sweeps: Iterable[str] | None = None,
    run_ids: Iterable[str] | None = None,
    created_after: str | None = None,
    created_before: str | None = None,
    filters: str | None = None,
) -> RunScope | None:
    """Make a scope from the flags of the command line, None where they admit every run.

    filters: JSON text. Raises InvalidRequestError with every problem found.
    """
    with all_problems() as attempt:
        read = attempt(lambda: _read_filters(filters))
        scope = attempt(
            lambda: RunScope(
                states=tuple(states or ()),
                tags=tuple(tags or ()),
                groups=tuple(groups or ()),
                sweeps=tuple(sweeps or ()),
                run_ids=tuple(run_ids or ()),
                created_after=created_after,
                created_before=created_before,
                filters=read,
            )
        )
    return None if scope == EVERY_RUN else scope


def _read_filters(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        filters = decode_json(text, "the run filter")
    except ValueError as error:
        raise InvalidRequestError([str(error)]) from None
    if not isinstance(filters, dict):
        raise InvalidRequestError(["the run filter must be a JSON object"])
    return filters
