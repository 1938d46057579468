"""Which runs of a folder a sync asks for, by the entity and the project that their files name."""

from typing import NamedTuple


class Wanted(NamedTuple):
    """The runs of one project. A file that names none of the two is of any; None asks for any."""

    entity: str | None = None
    project: str | None = None

    def admits(self, entity: str, project: str) -> bool:
        """Say whether a file that names these is asked for; "" if it names none."""
        return self._is(entity, self.entity) and self._is(project, self.project)

    @staticmethod
    def _is(named: str, asked: str | None) -> bool:
        return asked is None or named in ("", asked)


ANY = Wanted()
