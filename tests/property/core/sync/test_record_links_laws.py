"""The laws of the links between runs and artifacts."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import ARTIFACTS, Counts
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.project_part import ProjectPart
from dr_wandb.core.contract.project_record import ArtifactUse
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.sync.record_links import (
    UNREAD_MARK,
    HeldLinks,
    Links,
    RunLinks,
    advance_linked,
    find_runs_to_ask,
    links_after,
    links_by_id,
    never_asked,
    read_run_links,
    runs_with_unread_links,
    waiting_links,
)

run_ids = st.sampled_from("abc")
artifact_ids = st.sampled_from(["x", "y", "z"])
uses = st.none() | st.sampled_from(["train", "eval"])
run_links = st.builds(
    RunLinks,
    st.frozensets(artifact_ids),
    st.frozensets(st.tuples(artifact_ids, uses)),
    whole=st.just(True),
)
graphs = st.dictionaries(run_ids, run_links)


def as_links(graph: dict[str, RunLinks]) -> dict[str, Links]:
    return links_after({}, graph)


def edges(links: dict[str, Links]) -> set[tuple[Any, ...]]:
    found: set[tuple[Any, ...]] = set()
    for artifact_id, (created_by, used_by) in links.items():
        found |= {(run_id, "made", artifact_id, None) for run_id in created_by}
        found |= {(one.run_id, "used", artifact_id, one.used_as) for one in used_by}
    return found


@given(graphs, graphs)
def test_what_a_run_says_takes_the_place_of_what_it_said(
    before: dict[str, RunLinks], asked: dict[str, RunLinks]
) -> None:
    assert edges(links_after(as_links(before), asked)) == edges(as_links({**before, **asked}))


@given(graphs, graphs)
def test_what_came_of_the_links_of_a_run_is_added_to_what_it_said(
    before: dict[str, RunLinks], asked: dict[str, RunLinks]
) -> None:
    some = {run_id: links._replace(whole=False) for run_id, links in asked.items()}
    after = links_after(as_links(before), some)
    assert edges(after) == edges(as_links(before)) | edges(as_links(asked))


@given(graphs, graphs, graphs)
def test_asking_one_after_the_other_is_asking_at_once(
    before: dict[str, RunLinks], one: dict[str, RunLinks], other: dict[str, RunLinks]
) -> None:
    after = links_after(links_after(as_links(before), one), other)
    assert edges(after) == edges(links_after(as_links(before), {**one, **other}))


@given(graphs)
def test_links_are_in_order_and_have_each_use_once(graph: dict[str, RunLinks]) -> None:
    for created_by, used_by in as_links(graph).values():
        assert list(created_by) == sorted(set(created_by))
        pairs = [(one.run_id, one.used_as or "") for one in used_by]
        assert pairs == sorted(set(pairs))


def test_links_of_a_source_are_read() -> None:
    raw = {"outputs": ["x"], "inputs": [{"id": "y", "usedAs": "eval"}, {"id": "z"}]}
    expected = RunLinks(frozenset({"x"}), frozenset({("y", "eval"), ("z", None)}))
    assert read_run_links(raw) == expected
    assert read_run_links({}) == RunLinks()
    after = links_after({"y": Links(("r",), (ArtifactUse(run_id="r"),))}, {"r": expected})
    assert after["y"] == Links((), (ArtifactUse(run_id="r", used_as="eval"),))


lines_of_one = st.lists(
    st.tuples(graphs.map(as_links), st.none() | st.sampled_from(["2025", "2026"])), min_size=1
)


@given(lines_of_one)
def test_links_are_those_of_the_line_that_was_true_last(
    lines: list[tuple[dict[str, Links], str | None]],
) -> None:
    """The lines of one version in several collections took the links from each other."""
    held = [HeldLinks("x", links.get("x", Links()), since) for links, since in lines]
    found = links_by_id(held)["x"]
    live = [one.links for one in held if one.missing_since is None]
    last = max(one.missing_since or "" for one in held)
    assert found in (live or [one.links for one in held if one.missing_since == last])


marks = st.sampled_from([None, "0 0", "1 0", "2 1"])
listings = st.dictionaries(run_ids, marks).map(
    lambda known: [
        RunListing(run_id=run_id, other_counts={ARTIFACTS: Counts(mark=mark)})
        for run_id, mark in known.items()
    ]
)
linked_before = st.dictionaries(run_ids, st.sampled_from(["", "0 0", "1 0", "2 1", UNREAD_MARK]))


def request(**fields: Any) -> ExportRequest:
    return ExportRequest(entity="e", project="p", name="n", data_root=Path(), **fields)


@given(listings, linked_before, st.booleans(), st.booleans())
def test_run_is_asked_if_its_mark_moved_or_is_not_known(
    runs: list[RunListing], linked: dict[str, str], reconcile: bool, everything: bool
) -> None:
    mode = "full_reconcile" if reconcile else "incremental"
    asked = find_runs_to_ask(
        ARTIFACTS, request(sync_mode=mode), linked, runs, everything=everything
    )
    for run in runs:
        mark = run.counts_of(ARTIFACTS).mark
        moved = mark is None or linked.get(run.run_id) != mark or reconcile or everything
        assert (run.run_id in asked.run_ids) == (mark != "0 0" and moved)
        had = linked.get(run.run_id, "0 0") != "0 0"
        assert (run.run_id in asked.emptied) == (mark == "0 0" and had)
    some = advance_linked(linked, asked, dict.fromkeys(asked.run_ids, RunLinks(whole=False)))
    assert advance_linked(linked, asked, {}, asked.run_ids) == some
    without = {run_id for run_id, mark in asked.marks.items() if mark == "0 0"}
    missed = {one for one in asked.run_ids if linked.get(one) != asked.marks[one]}
    expected = {**linked, **dict.fromkeys(missed, UNREAD_MARK), **dict.fromkeys(without, "0 0")}
    assert some == expected
    assert missed <= {*find_runs_to_ask(ARTIFACTS, request(), some, runs).run_ids}
    assert advance_linked(linked, asked, {}) == {**linked, **dict.fromkeys(without, "0 0")}
    now = advance_linked(linked, asked, dict.fromkeys(asked.run_ids, RunLinks()))
    again = find_runs_to_ask(ARTIFACTS, request(), now, runs)
    unknown = {run.run_id for run in runs if run.counts_of(ARTIFACTS).mark is None}
    assert set(again.run_ids) == unknown
    assert again.emptied == ()
    assert now.keys() == linked.keys() | {run.run_id for run in runs}


def test_runs_that_were_never_asked_are_counted_if_they_can_be_listed() -> None:
    runs = {
        "asked": RunTracking(run_id="asked"),
        "new": RunTracking(run_id="new"),
        "gone": RunTracking(run_id="gone", missing_since="2026-01-01T00:00:00Z"),
        "outside": RunTracking(run_id="outside", out_of_scope_since="2026-01-01T00:00:00Z"),
    }
    part = ProjectPart(linked={"asked": "1 0"})
    state = ExportState(name="n", entity="e", project="p", runs=runs, records={ARTIFACTS: part})
    assert never_asked(request(extra_datasets=(ARTIFACTS,)), state) == 1
    assert never_asked(request(), state) == 0
    part = ProjectPart(linked=dict.fromkeys([*runs, "dropped"], UNREAD_MARK) | {"new": "1 0"})
    state = replace(state, records={ARTIFACTS: part})
    assert never_asked(request(extra_datasets=(ARTIFACTS,)), state) == 0
    assert runs_with_unread_links(request(extra_datasets=(ARTIFACTS,)), state) == {"asked"}
    assert runs_with_unread_links(request(), state) == set()


@given(graphs, st.frozensets(artifact_ids), graphs.map(as_links))
def test_links_that_no_line_has_wait(
    graph: dict[str, RunLinks], there: frozenset[str], gone: dict[str, Links]
) -> None:
    after = as_links(graph)
    waiting = waiting_links(after, there, gone)
    for artifact_id in ("x", "y", "z"):
        links = after.get(artifact_id)
        if artifact_id in there or links is None or links == gone.get(artifact_id):
            assert artifact_id not in waiting
        else:
            found = waiting[artifact_id]
            assert Links(found.created_by, found.used_by) == links
