"""What is known of the records of a project in one dataset, between two syncs."""

import msgspec

from dr_wandb.core.contract.project_record import ArtifactUse
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure


class WaitingLinks(Record, omit_defaults=True, frozen=True, kw_only=True):
    """The runs that made and used a record that is not there yet."""

    created_by: tuple[str, ...] = ()
    used_by: tuple[ArtifactUse, ...] = ()


class ProjectPart(Record, omit_defaults=True, frozen=True, kw_only=True):
    """The part of a dataset that belongs to the project.

    `source` is the kind of source that last listed it; `others` has the kind for each record that
    another kind listed last, by identity. `unlisted` is how many records the source counted and did
    not list, or that do not read; `failure` is why the last listing failed. `marks` has a text for
    each group of records that need not be listed again while it stays. `linked` has a text for each
    run whose links were read; they are read again if it moves. `waiting` has the links to records
    that no listing has shown yet, or that are gone, by the source's id.
    """

    source: str = ""
    others: dict[str, str] = msgspec.field(default_factory=dict)
    unlisted: int = 0
    failure: RunFailure | None = None
    marks: dict[str, str] = msgspec.field(default_factory=dict)
    linked: dict[str, str] = msgspec.field(default_factory=dict)
    waiting: dict[str, WaitingLinks] = msgspec.field(default_factory=dict)

    def source_of(self, identity: str) -> str:
        """Return the kind of source that last listed a record, "" if that is not known."""
        return self.others.get(identity, self.source)
