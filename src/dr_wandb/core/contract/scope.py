"""Which runs of a project an export follows.

Rules
- Several values of one field widen the scope, several fields narrow it.
- A scope decides which runs are added. A run that was added once is kept, even if it leaves the
  scope.
- Two scopes that say the same compare equal: values are sorted and unique, times are normalized.
- W&B alone judges `filters`. Everything else is judged here, in the same way for every source. The
  exception is a field of a run that the server does not know: there its own filter decides.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec.structs import force_setattr, replace

from dr_wandb.core.contract.criteria import Criterion, Operator
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.problems import InvalidRequestError, all_problems
from dr_wandb.core.contract.records import Record, WandbRun
from dr_wandb.core.contract.values import decode_json

CRITERIA = (
    Criterion(
        field="states",
        flag="state",
        help=(
            "Follow only runs in this state, such as `finished`. Repeat it for several; a run that "
            "was exported once is kept when it leaves the scope. The same goes for the flags that "
            "follow."
        ),
        word="state",
        of_run="state",
        filter_key="state",
    ),
    Criterion(
        field="tags",
        flag="tag",
        help="Follow only runs with this tag.",
        word="tag",
        of_run="tags",
        filter_key="tags",
        listed_as="tags",
    ),
    Criterion(
        field="groups",
        flag="group",
        help="Follow only runs of this group.",
        word="group",
        of_run="group",
        filter_key="group",
        listed_as="group",
    ),
    Criterion(
        field="sweeps",
        flag="sweep",
        help="Follow only runs of the sweep with this id.",
        word="sweep",
        of_run="sweep_name",
        filter_key="sweep",
        listed_as="sweepName",
    ),
    Criterion(
        field="run_ids",
        flag="run_id",
        help="Follow only the run with this id.",
        word="run",
        of_run="run_id",
        filter_key="name",
    ),
    Criterion(
        field="created_after",
        flag="created_after",
        help="Follow only runs created at this date or time, or later.",
        word="created after",
        of_run="created_at",
        filter_key="createdAt",
        operator=Operator.FROM,
    ),
    Criterion(
        field="created_before",
        flag="created_before",
        help="Follow only runs created before this date or time.",
        word="created before",
        of_run="created_at",
        filter_key="createdAt",
        operator=Operator.BEFORE,
    ),
)
"""Every criterion that is judged here. The flags and their help, the checks, the admission, W&B's
filters and the wording come from this table; a RunScope has one field for each row of it."""


class RunScope(Record, frozen=True, kw_only=True):
    """A choice of runs; a field that is empty or None admits every run.

    `states`, `groups`, `sweeps`, `run_ids`: the run's value is one of them. `tags`: the run has at
    least one of them. `created_after` is inclusive, `created_before` exclusive (ISO 8601; UTC if no
    zone is given). `filters` is a query in the style of MongoDB, as `Api.runs(filters=...)` takes
    it. Raises InvalidRequestError with every problem found.
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
        for criterion in CRITERIA:
            try:
                wanted = criterion.clean(getattr(self, criterion.field))
            except ValueError as error:
                problems.append(str(error))
            else:
                force_setattr(self, criterion.field, wanted)
        if not isinstance(self.filters, Mapping | None):
            problems.append(f"filters must be an object, not {self.filters!r}")
        elif not self.filters:
            force_setattr(self, "filters", None)
        if problems:
            raise InvalidRequestError(problems)

    @property
    def contradiction(self) -> str | None:
        """Say why no run at all can be in scope, None if one can.

        A stored scope may be one: such a request was taken by earlier builds.
        """
        after, before = instant(self.created_after), instant(self.created_before)
        if after is None or before is None or after < before:
            return None
        return (
            f"created_after {self.created_after} is not before created_before "
            f"{self.created_before}: no run can be in scope"
        )

    @property
    def named(self) -> "RunScope":
        """Return the part that can be judged without W&B."""
        return replace(self, filters=None)

    def unseen(self, not_listed: Collection[str]) -> tuple[str, ...]:
        """Return the fields that this scope asks about and that the listing does not have."""
        asked = (criterion.listed_as for criterion, _ in chosen_in(self))
        return tuple(field for field in asked if field is not None and field in not_listed)

    def without(self, fields: Collection[str]) -> "RunScope":
        """Return the scope without the criteria on these fields of a listed run."""
        dropped = (criterion for criterion in CRITERIA if criterion.listed_as in fields)
        return replace(self, **{criterion.field: None for criterion in dropped})

    def admits(self, run: WandbRun) -> bool:
        """Say whether a run is in scope, `filters` aside."""
        return all(criterion.admits(wanted, run) for criterion, wanted in chosen_in(self))


EVERY_RUN = RunScope()
"""The scope that admits every run."""


def chosen_in(scope: RunScope) -> Iterator[tuple[Criterion, tuple[str, ...]]]:
    """Give the criteria that a scope uses, each with its wanted values."""
    for criterion in CRITERIA:
        if wanted := getattr(scope, criterion.field):
            yield criterion, wanted if criterion.takes_several else (wanted,)


def build_scope(flags: Mapping[str, Any], filters: str | None = None) -> RunScope | None:
    """Make a scope from the flags of the command line, None if they admit every run.

    flags: the values that were given, by the `flag` of their criterion. filters: JSON
    text. Raises InvalidRequestError with every problem found.
    """
    fields: dict[str, Any] = {criterion.field: flags.get(criterion.flag) for criterion in CRITERIA}
    with all_problems() as attempt:
        read = attempt(lambda: _read_filters(filters))
        scope = attempt(lambda: RunScope(**fields, filters=read))
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
