"""Laws of snapshots: what is the same keeps its bytes, and what failed keeps what it has."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest, encode_line, fingerprint
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import RunSnapshot
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.advance import PartOutcome, RunOutcome
from dr_wandb.core.sync.snapshots import renewed, snapshot_differs, track_snapshot, with_metadata
from tests.support import strategies as some

PLACE = ByteRange(offset=0, length=1, rows=1, digest="d")

runs = st.builds(
    lambda name, config, state: normalize_run(
        {"name": name, "config": {"lr": {"value": config}}, "state": state},
        entity="team",
        project="project",
    ),
    some.run_ids,
    st.integers(0, 3),
    some.states_of_runs,
)
snapshots = st.builds(RunSnapshot, run=runs, exported_at=some.good_times)
contents = st.none() | st.dictionaries(some.clean_texts, st.integers(0, 3), max_size=2)


def held(listing: RunListing) -> RunTracking:
    """Return the tracking of a run whose snapshot is that of its listing."""
    return RunTracking(
        run_id=listing.run_id, seen=listing, fingerprint=listing.fingerprint, snapshot=PLACE
    )


@given(some.listings, st.booleans())
def test_snapshot_is_not_written_again_if_nothing_moved(listing: RunListing, read: bool) -> None:
    outcome = RunOutcome(listing=listing)
    differs = snapshot_differs(held(listing), outcome, metadata_read=read, include_metadata=False)
    assert differs == read


@given(some.listings, st.booleans(), st.booleans())
def test_run_that_failed_keeps_its_snapshot_and_one_that_was_refused_does_not(
    listing: RunListing, refused: bool, read: bool
) -> None:
    tracking = replace(held(listing), fingerprint="earlier")
    kind = RunFailureKind.REFUSED if refused else RunFailureKind.TIMEOUT
    part = PartOutcome(failure=RunFailure(kind=kind, reason="no answer"))
    outcome = RunOutcome(listing=listing, parts={"history": part})
    differs = snapshot_differs(tracking, outcome, metadata_read=read, include_metadata=False)
    assert differs == refused
    nothing = replace(tracking, snapshot=None)
    assert snapshot_differs(nothing, outcome, metadata_read=read, include_metadata=False)


@given(snapshots, snapshots, st.booleans())
def test_snapshot_that_says_the_same_stays_to_the_byte(
    stored: RunSnapshot, other: RunSnapshot, known: bool
) -> None:
    again = replace(stored.run, url="elsewhere")
    kept = renewed(stored, again, known=known, at="now")
    assert (kept is stored) == known
    for before in (None, stored):
        new = renewed(before, other.run, known=True, at="now")
        if before is None or fingerprint(before.run) != fingerprint(other.run):
            assert new == RunSnapshot(run=other.run, exported_at="now")


@given(snapshots, contents, contents, st.booleans())
def test_metadata_that_did_not_come_stays_as_it_is_held(
    snapshot: RunSnapshot, stored: dict[str, int] | None, read: dict[str, int] | None, came: bool
) -> None:
    before = replace(snapshot, run=replace(snapshot.run, metadata=stored))
    assert with_metadata(snapshot.run, before, read, came=came).metadata == (
        read if came else stored
    )
    assert with_metadata(snapshot.run, None, read, came=False).metadata is None


@given(snapshots, st.booleans())
def test_stored_snapshot_of_another_content_is_compared_with_nothing(
    snapshot: RunSnapshot, altered: bool
) -> None:
    line = encode_line(snapshot)
    place = replace(PLACE, digest="another" if altered else digest(line))
    known = RunTracking(run_id=snapshot.run.run_id, snapshot=place, metadata_included=True)
    found = track_snapshot(known, snapshot, line)
    assert bool(found.fingerprint) == (not altered)
    assert found.metadata_included == (not altered)
    assert (found.created_at, found.run_state) == (snapshot.run.created_at, snapshot.run.state)
    assert track_snapshot(None, snapshot, line).fingerprint
