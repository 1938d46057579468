"""Decide what becomes of the records of a project: those that are held, and those that came.

Rules
- What came is stored, whether or not the listing is complete.
- A record that is not in a complete listing is marked as missing, and stays. With `prune` it goes
  if it is proven gone: the source counts its records and listed as many or, if it does not count,
  another listing at least ten minutes earlier did not have it either.
- A record that another kind of source listed last is never missing because of this one.
- A listing without more than half of the held records is not believed, unless the user says so:
  nothing is missing because of it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple

from dr_wandb.core.contract.changes import ChangedRun, FieldChange
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.project_part import ProjectPart, WaitingLinks
from dr_wandb.core.contract.project_record import ProjectRecord, SortKey
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.changes import compare_field, name_fields
from dr_wandb.core.sync.listing_plan import Answer

LOOKS_APART = timedelta(minutes=10)
"""The time between two listings without counts that prove a record gone."""

_SAYS_NOTHING_NEW = frozenset({"missing_since", "storage_id", "updated_at"})
"""Members of a record that are no change by themselves."""


class HeldRecord(NamedTuple):
    """A stored record: the key of its line, a digest of its content, and since when it is gone."""

    sort_key: SortKey
    digest: str
    missing_since: str | None = None


class ListedRecord(NamedTuple):
    """A record that came: the key of its line, and a digest of its content."""

    sort_key: SortKey
    digest: str


class PlannedLine(NamedTuple):
    """A line of the new file: the record as it came, or as it is held."""

    identity: str
    came: bool
    missing_since: str | None = None


class RecordsPlan(Record, frozen=True, kw_only=True):
    """What happens to the records of one dataset, by identity.

    `changed` and `returned` may name one record both; `missing` are newly so. `lines` are those of
    the new file, in order. `rewrites`: the file is another one than before.
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    lines: tuple[PlannedLine, ...] = ()

    @property
    def rewrites(self) -> bool:
        """Say whether the file is another one than before."""
        return bool(self.new or self.changed or self.missing or self.returned or self.pruned)


def plan_records(
    request: ExportRequest,
    part: ProjectPart,
    held: Mapping[str, HeldRecord],
    listed: Mapping[str, ListedRecord],
    *,
    answer: Answer,
    source: str,
    now: str,
    unlisted: Collection[str] = (),
) -> RecordsPlan:
    """Decide what happens to every record that is held or came.

    answer: what the source's own count says of the listing; `INCOMPLETE` if it failed. unlisted:
    held records that the listing does not show in any case; they stay.
    """
    absent = find_absent(part, held, {*listed, *unlisted}, answer=answer, source=source)
    pruned = {
        identity
        for identity in absent
        if request.prune and _proven_gone(held[identity].missing_since, answer, now)
    }
    missing = {
        identity
        for identity in absent
        if held[identity].missing_since is None and identity not in pruned
    }
    since = dict.fromkeys(missing, now)
    keys = {identity: record.sort_key for identity, record in held.items()}
    keys |= {identity: record.sort_key for identity, record in listed.items()}
    known = held.keys() & listed.keys()
    return RecordsPlan(
        new=tuple(sorted(listed.keys() - held.keys())),
        changed=_sorted(known, lambda one: held[one].digest != listed[one].digest),
        missing=tuple(sorted(missing)),
        returned=_sorted(known, lambda one: held[one].missing_since is not None),
        pruned=tuple(sorted(pruned)),
        lines=tuple(
            PlannedLine(identity, came=True)
            if identity in listed
            else PlannedLine(
                identity,
                came=False,
                missing_since=since.get(identity, held[identity].missing_since),
            )
            for identity in sorted(keys.keys() - pruned, key=lambda one: (keys[one], one))
        ),
    )


def find_absent(
    part: ProjectPart,
    held: Iterable[str],
    shown: Collection[str],
    *,
    answer: Answer,
    source: str,
) -> list[str]:
    """Return the held records that a listing shows to be gone.

    shown: those that came, and those that the listing does not show in any case.
    """
    if answer == Answer.INCOMPLETE:
        return []
    return [one for one in held if one not in shown and part.source_of(one) in ("", source)]


def _sorted(identities: Collection[str], chosen: Callable[[str], bool]) -> tuple[str, ...]:
    return tuple(sorted(filter(chosen, identities)))


def _proven_gone(missing_since: str | None, answer: Answer, now: str) -> bool:
    if answer == Answer.COMPLETE:
        return True
    since, moment = instant(missing_since), instant(now)
    return since is not None and moment is not None and moment - since >= LOOKS_APART


def find_vanished(
    request: ExportRequest,
    part: ProjectPart,
    held: Mapping[str, HeldRecord],
    listed: Collection[str],
    source: str,
) -> RunFailure | None:
    """Return why a listing is not believed that has suddenly lost most of the held records."""
    known = [
        identity
        for identity, record in held.items()
        if record.missing_since is None and part.source_of(identity) in ("", source)
    ]
    lost = sum(identity not in listed for identity in known)
    if request.allow_empty or 2 * lost <= len(known):
        return None
    reason = (
        f"{lost:,} of {count(len(known), 'held record')} are not listed any more; if that is "
        "true, sync again with --allow-empty"
    )
    return RunFailure(kind=RunFailureKind.UNUSABLE_ANSWER, reason=reason)


def advance_part(
    part: ProjectPart,
    plan: RecordsPlan,
    listed: Collection[str],
    *,
    source: str,
    unlisted: int,
    failure: RunFailure | None,
    marks: Mapping[str, str] = {},
    linked: Mapping[str, str] = {},
    waiting: Mapping[str, WaitingLinks] = {},
) -> ProjectPart:
    """Return what is known of the records of a dataset after a listing."""
    kinds = {line.identity: part.source_of(line.identity) for line in plan.lines if not line.came}
    others = {
        identity: kind
        for identity, kind in sorted(kinds.items())
        if identity not in listed and kind not in ("", source)
    }
    return ProjectPart(
        source=source,
        others=others,
        unlisted=unlisted,
        failure=failure,
        marks=dict(sorted(marks.items())),
        linked=dict(sorted(linked.items())),
        waiting=dict(sorted(waiting.items())),
    )


def compare_records(
    old: ProjectRecord, new: ProjectRecord, large: str | None = None
) -> ChangedRun | None:
    """Return the members in which two contents of a record differ, None if they differ in none.

    large: a member that is known to differ, and that the records are without: it is too long.
    """
    changes = [
        change
        for name in new.__struct_fields__
        if name not in _SAYS_NOTHING_NEW and name != large
        for change in compare_field(name, getattr(old, name), getattr(new, name))
    ]
    if large is not None:
        changes.append(FieldChange(field=large, large=True))
    return name_fields(changes) if changes else None
