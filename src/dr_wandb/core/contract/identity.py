"""Which run a listing is about: the tracked one, or another one with its id.

Rules
- A run is its id and the second in which it was created. The latter counts only between listings of
  the same kind of source: a file knows another moment than a server.
- Storage ids are made of names, so renaming a project changes those of all its runs. They count
  only if no time of creation is known, and if they name another run.
"""

from msgspec.structs import replace

from dr_wandb.core.contract.listing import RunListing, names_run, same_second
from dr_wandb.core.contract.state import FIRST_SOURCE, RunTracking

FILES_SOURCE = "offline"
"""The kind of source that reads files. For it, a run begins with its earliest visible file."""


def see(tracking: RunTracking | None, listing: RunListing, source: str) -> RunTracking:
    """Return the tracking of a run that a listing shows: present, and with that listing.

    A run that was made again under the same id starts without parts.
    """
    before = tracking or RunTracking(run_id=listing.run_id)
    if is_another_run(before, listing, source):
        before = replace(before, parts={}, metadata_included=False)
    return replace(
        before,
        created_at=listing.created_at,
        run_state=listing.state,
        seen=listing,
        source=source,
        missing_since=None,
    )


def holds_another_run(
    tracking: RunTracking, dataset: str, listing: RunListing, source: str | None = None
) -> bool:
    """Say whether the held rows of a dataset are those of another run than the listed one.

    source: the kind of source of the listing; None for the one that last saw the run.
    """
    return tracking.part(dataset).of_earlier_run or is_another_run(tracking, listing, source)


def is_another_run(tracking: RunTracking, listing: RunListing, source: str | None = None) -> bool:
    """Say whether the listed run only shares its id with the one that is tracked.

    source: the kind of source of the listing; None for the one that last saw the run.
    """
    if source is not None and source != (tracking.source or FIRST_SOURCE):
        return False
    if tracking.seen is listing and tracking.created_at == listing.created_at:
        return False
    same = same_second(tracking.created_at, listing.created_at)
    if same is not None:
        return not same
    known = tracking.seen.storage_id if tracking.seen is not None else None
    if known is None or listing.storage_id is None or known == listing.storage_id:
        return False
    return not all(names_run(one, listing.run_id) for one in (known, listing.storage_id))


def why_another(source: str | None) -> str:
    """Say for people what a changed time of creation means for this kind of source."""
    if source == FILES_SOURCE:
        return "its files begin at another time"
    return "deleted and made again under the same id"
