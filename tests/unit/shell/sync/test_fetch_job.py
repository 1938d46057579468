"""How the jobs of a sync are given to threads."""

import pytest

from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.plan import RunAction, RunPlan
from dr_wandb.core.sync.plan_kinds import FetchKind, PlanKind
from dr_wandb.shell.sources import WORKERS
from dr_wandb.shell.sync.fetch_job import FetchJob, lanes_for
from tests.support.memory_source import MemorySource


class ManyTails(MemorySource):
    """A source that asks for several tails in one request."""

    tails_at_once = 3 * WORKERS


def job(run_id: str, *, tail: bool) -> FetchJob:
    window = FetchWindow(start=5) if tail else WHOLE_RUN
    fetch = PartFetch(window=window, kind=FetchKind.TAIL, reason="", tail=tail)
    plan = RunPlan(
        run_id=run_id,
        action=RunAction.REFRESH,
        kind=PlanKind.ROWS,
        reason="",
        fetches={"history": fetch},
    )
    return FetchJob(plan=plan, listing=RunListing(run_id=run_id), before=None)


TAIL, WHOLE = job("tail", tail=True), job("whole", tail=False)


def test_tails_get_threads_of_their_own_if_the_source_asks_for_several_at_once() -> None:
    lanes = lanes_for(ManyTails(), [WHOLE, TAIL], WORKERS)
    assert lanes == [([TAIL], 3 * WORKERS), ([WHOLE], WORKERS)]


@pytest.mark.parametrize(
    ("source", "workers"), [(MemorySource(), WORKERS), (ManyTails(), 2), (ManyTails(), 4 * WORKERS)]
)
def test_all_jobs_share_the_threads_otherwise(source: MemorySource, workers: int) -> None:
    """Whoever asks for few threads does not get more of them."""
    assert lanes_for(source, [WHOLE, TAIL], workers) == [([WHOLE, TAIL], workers)]
