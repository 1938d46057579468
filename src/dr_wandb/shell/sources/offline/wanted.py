"""The runs of a folder that a sync wants, by the entity and the project in their files."""

from typing import NamedTuple


class Wanted(NamedTuple):
    """The runs of one project. None admits any; a file that names no project matches any."""

    entity: str | None = None
    project: str | None = None

    def admits(self, entity: str, project: str) -> bool:
        """Say whether a file that names these is wanted; "" if it names none."""
        return self._is(entity, self.entity) and self._is(project, self.project)

    @staticmethod
    def _is(named: str, asked: str | None) -> bool:
        return asked is None or named in ("", asked)


ANY = Wanted()
