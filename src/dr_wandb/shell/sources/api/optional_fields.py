"""Fields of records that a server may not know, because it is older than this tool.

Rules
- Such a field is skipped for the session as soon as the server says that it does not know it, and
  is null in the records. A warning names it once.
"""

from collections.abc import Collection

from dr_wandb.core.sync.left_out import unknown_names
from dr_wandb.shell.progress import LOGGER

UNKNOWN = "%s does not know %s of %s: not exported"


class OptionalFields:
    """The fields that one server does not know."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._skipped: dict[str, frozenset[str]] = {}

    def skipped(self, what: str) -> frozenset[str]:
        """Return the fields to skip, of "an artifact" for example."""
        return self._skipped.get(what, frozenset())

    def skip(self, error: BaseException, what: str, optional: Collection[str]) -> bool:
        """Skip the optional fields that an error says are not known. Says whether any is new."""
        skipped = self.skipped(what)
        new = (unknown_names(_texts(error)) & {*optional}) - skipped
        if new:
            self._skipped[what] = skipped | new
            LOGGER.warning(UNKNOWN, self._host, ", ".join(sorted(new)), what)
        return bool(new)


def _texts(error: BaseException) -> str:
    """Return the texts of an error and its causes."""
    cause = error.__cause__
    return f"{error}\n{'' if cause is None else _texts(cause)}"
