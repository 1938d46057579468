"""Which runs made and used each record of a linked dataset, from what runs say of themselves.

Rules
- A run is asked again only if the number of records that it made or used moved, or if that is not
  known, or if not all of its links came. What it says then takes the place of what it said before.
- Runs that are not asked, and runs that are gone, keep their links. So does a run of which not all
  links came; those that came are added.
- A link may lead to a record that no listing has shown yet, or that is gone. Such links wait for it
  to come: the run is not asked again.
- Several lines may be of one record of the source. A line of what is gone upstream keeps the links
  of its time, and says nothing of a record that is there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.project_part import WaitingLinks
from dr_wandb.core.contract.project_record import ArtifactUse, text_of
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.state import ExportState

NO_LINKS_MARK = "0 0"
"""The mark of a run that neither made nor used a record."""

UNKNOWN_MARK = ""
"""Stands for the mark of a run whose numbers are not known: it is asked whenever it is listed."""


UNREAD_MARK = "unread"
"""Stands for the mark of a run of which not all links came: it is listed and asked in each sync."""


class Links(NamedTuple):
    """The runs that made a record, and those that used it, by run id."""

    created_by: tuple[str, ...] = ()
    used_by: tuple[ArtifactUse, ...] = ()


NO_LINKS = Links()


class HeldLinks(NamedTuple):
    """What a line says of the links of a record, which the source knows by an id."""

    source_id: str
    links: Links
    missing_since: str | None = None

    @property
    def age(self) -> tuple[bool, str]:
        """Return what is the greater, the later the links of a line were true."""
        return self.missing_since is None, self.missing_since or ""


class RunLinks(NamedTuple):
    """The ids of what a run made, and of what it used, each with what it was used as.

    whole: these are all of them.
    """

    outputs: frozenset[str] = frozenset()
    inputs: frozenset[tuple[str, str | None]] = frozenset()
    whole: bool = True


class RunsToAsk(NamedTuple):
    """The runs whose links are read, and the marks of all listed runs.

    emptied: runs that had links and have none now.
    """

    run_ids: tuple[str, ...]
    marks: Mapping[str, str]
    emptied: tuple[str, ...] = ()


def read_run_links(raw: Mapping[str, Any], *, whole: bool = True) -> RunLinks:
    """Return the links of a run as a source gives them, see `RecordPage`."""
    return RunLinks(
        outputs=frozenset(map(str, raw.get("outputs") or ())),
        inputs=frozenset(
            (str(one["id"]), text_of(one.get("usedAs"))) for one in raw.get("inputs") or ()
        ),
        whole=whole,
    )


def find_runs_to_ask(
    dataset: str,
    request: ExportRequest,
    linked: Mapping[str, str],
    runs: Iterable[RunListing],
    *,
    everything: bool = False,
) -> RunsToAsk:
    """Return the runs whose links have to be read. linked: the mark when they were read last.

    everything: ask every run that has links, as a recording needs it.
    """
    marks = {run.run_id: run.counts_of(dataset).mark or UNKNOWN_MARK for run in runs}
    again = everything or request.sync_mode == SyncMode.FULL_RECONCILE
    asked = (
        run_id
        for run_id, mark in marks.items()
        if mark != NO_LINKS_MARK and (again or mark == UNKNOWN_MARK or linked.get(run_id) != mark)
    )
    emptied = (
        run_id
        for run_id, mark in marks.items()
        if mark == NO_LINKS_MARK and linked.get(run_id, mark) != mark
    )
    return RunsToAsk(tuple(sorted(asked)), marks, tuple(sorted(emptied)))


def advance_linked(
    linked: Mapping[str, str],
    asked: RunsToAsk,
    read: Mapping[str, RunLinks],
    unread: Collection[str] = (),
) -> dict[str, str]:
    """Return the mark of each run when its links were read last. read: the runs that answered.

    unread: runs of which not all links came. If its mark did not move, what was read before holds.
    """
    whole = {run_id for run_id, links in read.items() if links.whole}
    now = {
        run_id: mark
        for run_id, mark in asked.marks.items()
        if run_id in whole or mark == NO_LINKS_MARK
    }
    moved = (run_id for run_id in asked.run_ids if linked.get(run_id) != asked.marks[run_id])
    partly = {*read, *unread} - whole
    return {**linked, **dict.fromkeys(partly.intersection(moved), UNREAD_MARK), **now}


def links_by_id(lines: Iterable[HeldLinks]) -> dict[str, Links]:
    """Return the links of each record by the source's id: those that were true last."""
    return {line.source_id: line.links for line in sorted(lines, key=lambda line: line.age)}


def waiting_links(
    after: Mapping[str, Links], there: Collection[str], gone: Mapping[str, Links]
) -> dict[str, WaitingLinks]:
    """Return the links that no line has, by the source's id of their record.

    there: the records that have a line, other than those that are `gone`, with the links of theirs.
    """
    return {
        source_id: WaitingLinks(created_by=links.created_by, used_by=links.used_by)
        for source_id, links in after.items()
        if source_id not in there and links != gone.get(source_id, NO_LINKS)
    }


def links_after(held: Mapping[str, Links], asked: Mapping[str, RunLinks]) -> dict[str, Links]:
    """Return the links of each record, by the source's id, after some runs were asked."""
    created: dict[str, set[str]] = {}
    used: dict[str, set[tuple[str, str | None]]] = {}
    whole = {run_id for run_id, run in asked.items() if run.whole}
    for source_id, links in held.items():
        created[source_id] = set(links.created_by) - whole
        used[source_id] = {
            (one.run_id, one.used_as) for one in links.used_by if one.run_id not in whole
        }
    for run_id, run in asked.items():
        for source_id in run.outputs:
            created.setdefault(source_id, set()).add(run_id)
        for source_id, used_as in run.inputs:
            used.setdefault(source_id, set()).add((run_id, used_as))
    return {
        source_id: Links(
            tuple(sorted(created.get(source_id, ()))),
            tuple(
                ArtifactUse(run_id=run_id, used_as=used_as)
                for run_id, used_as in sorted(used.get(source_id, ()), key=_order)
            ),
        )
        for source_id in {*created, *used}
    }


def _order(use: tuple[str, str | None]) -> tuple[str, str]:
    return use[0], use[1] or ""


def linked_datasets(request: ExportRequest) -> tuple[str, ...]:
    """Return the requested datasets whose records runs make and use."""
    return tuple(one for one in request.project_datasets if PROJECT_DATASETS[one].linked)


def never_asked(request: ExportRequest, state: ExportState) -> int:
    """Return how many followed runs were never asked for the links that a request needs."""
    asked = [state.project_part(dataset).linked.keys() for dataset in linked_datasets(request)]
    rest = {run_id for run_ids in asked for run_id in state.runs.keys() - run_ids}
    return sum(1 for _ in _followed(state, rest))


def runs_with_unread_links(request: ExportRequest, state: ExportState) -> frozenset[str]:
    """Return the followed runs of which not all links came when they were asked."""
    parts = [state.project_part(dataset) for dataset in linked_datasets(request)]
    marks = (mark for part in parts for mark in part.linked.items())
    unread = {run_id for run_id, mark in marks if mark == UNREAD_MARK}
    return frozenset(_followed(state, unread & state.runs.keys()))


def _followed(state: ExportState, run_ids: Iterable[str]) -> Iterator[str]:
    for run_id in run_ids:
        run = state.runs[run_id]
        if run.missing_since is None and run.out_of_scope_since is None:
            yield run_id
