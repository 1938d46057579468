"""Check whether everything that an export needs is available, as a list of checks."""

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.wording import as_lines


class Check(Record, frozen=True, kw_only=True):
    """One check: what was found, and what to do if that is a problem.

    `remedy` is None if there is no problem.
    """

    name: str
    found: str
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Say whether there is no problem."""
        return self.remedy is None


class Diagnosis(Record, frozen=True, kw_only=True):
    """All checks, in the order in which an export needs what they check."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Say whether an export can start."""
        return all(check.ok for check in self.checks)


def describe_diagnosis(diagnosis: Diagnosis, *, raw: bool = False) -> tuple[str, ...]:
    """Describe a diagnosis in lines of text, one for each check.

    raw: names as they are, with characters that can steer a terminal.
    """
    width = max((len(check.name) for check in diagnosis.checks), default=0)
    lines = (
        f"{check.name:{width}}  {check.found}: {'ok' if check.ok else check.remedy}"
        for check in diagnosis.checks
    )
    return as_lines(lines, raw=raw)
