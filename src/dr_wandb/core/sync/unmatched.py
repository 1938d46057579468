"""What a request asks for that no listed run has, most likely by mistake.

Rules
- Each line names a flag and its value, and up to three names that are spelled nearly like it.
- A metric is missed only if some run has metrics, and a part of a scope only if all runs of the
  scope were listed. Whoever calls this sees to the second one.
- Names of W&B's own columns, which begin with an underscore, are never missed.
"""

from collections.abc import Collection, Iterator

from dr_wandb.core.contract.criteria import Criterion
from dr_wandb.core.contract.listing import STATES
from dr_wandb.core.contract.nearest import did_you_mean, nearest
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.scope import CRITERIA, RunScope, chosen_in
from dr_wandb.core.contract.wording import printable, scope_in_words


class SeenNames:
    """The names by which runs may be chosen, collected from listed runs.

    metrics: of the runs' histories. inside: the number of runs in scope.
    """

    def __init__(self) -> None:
        self.metrics: set[str] = set()
        self.inside = 0
        self._of_runs: dict[str, set[str]] = {}
        self._inside: dict[str, set[str]] = {}

    def add(self, run: WandbRun, *, inside: bool) -> None:
        """Take the names of a run. inside: it is in scope."""
        keys = (run.history_keys or {}).get("keys")
        self.metrics.update(keys if isinstance(keys, dict) else ())
        self.inside += inside
        for criterion in CRITERIA:
            if criterion.takes_several:
                own = getattr(run, criterion.of_run)
                names = {*own} if isinstance(own, list) else {own} - {None}
                self._of_runs.setdefault(criterion.field, set()).update(names)
                if inside:
                    self._inside.setdefault(criterion.field, set()).update(names)

    def names_of(self, criterion: Criterion, *, inside: bool) -> Collection[str]:
        """Return the values of a criterion that runs have; of those in scope, or of all."""
        return (self._inside if inside else self._of_runs).get(criterion.field, ())


def find_unmatched(request: ExportRequest, seen: SeenNames) -> tuple[str, ...]:
    """Describe in lines what a request asks for and no listed run has."""
    return (*_unmatched_keys(request, seen), *unmatched_scope(request.scope, seen))


def _unmatched_keys(request: ExportRequest, seen: SeenNames) -> Iterator[str]:
    if not any(not name.startswith("_") for name in seen.metrics):
        return
    for key in request.selection.keys or ():
        if not key.startswith("_") and not _names_a_metric(key, seen.metrics):
            yield _line("history_key", key, seen.metrics)


def _names_a_metric(key: str, metrics: Collection[str]) -> bool:
    """Say whether a key is a metric, an object of metrics, or a path into one."""
    return key in metrics or any(
        name.startswith(f"{key}.") or key.startswith(f"{name}.") for name in metrics
    )


def unmatched_scope(scope: RunScope | None, seen: SeenNames) -> tuple[str, ...]:
    """Describe in lines which parts of a scope no listed run has."""
    return () if scope is None else tuple(_unmatched_scope(scope, seen))


def _unmatched_scope(scope: RunScope, seen: SeenNames) -> Iterator[str]:
    chosen = list(chosen_in(scope))
    one_of = [(criterion, wanted) for criterion, wanted in chosen if criterion.takes_several]
    if not seen.inside and (len(chosen) != 1 or not one_of or scope.filters is not None):
        yield f"no run is in the scope: {printable(scope_in_words(scope))}"
        missed = [
            (criterion, value)
            for criterion, wanted in one_of
            for value in wanted
            if value not in seen.names_of(criterion, inside=False)
            and nearest(value, _known_names(criterion, seen))
        ]
    else:
        missed = [
            (criterion, value)
            for criterion, wanted in one_of
            for value in wanted
            if value not in seen.names_of(criterion, inside=True)
        ]
    for criterion, value in missed:
        yield _line(criterion.flag, value, _known_names(criterion, seen))


def _known_names(criterion: Criterion, seen: SeenNames) -> Collection[str]:
    names = seen.names_of(criterion, inside=False)
    return {*names, *STATES} if criterion.of_run == "state" else names


def _line(flag: str, value: str, names: Collection[str]) -> str:
    spelled = f"--{flag.replace('_', '-')}"
    parts = [part.strip() for part in value.split(",")]
    if len(parts) > 1 and {*parts} <= {*names}:
        several = " ".join(f"{spelled} {part}" for part in parts)
        return f"{spelled} {printable(value)} matches no run; give the flag for each: {several}"
    return f"{spelled} {printable(value)} matches no run{did_you_mean(value, names)}"
