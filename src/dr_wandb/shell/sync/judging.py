"""Collect what the judge needs for an answer: the stored rows of its run, and its tracking.

Rules
- Rows are compared only with those of the same run; a run that was made again has none.
- Stored rows that the state does not describe, such as those of 3.0.3, are described from the file.
- Nothing is decided here, and nothing is read from the source.
"""

from dr_wandb.core.contract.identity import holds_another_run
from dr_wandb.core.contract.part import Position
from dr_wandb.core.contract.selection import EVERYTHING
from dr_wandb.core.sync.case import Answer
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.judge import judge
from dr_wandb.core.sync.row_pairs import Comparison
from dr_wandb.core.sync.verdict import Verdict
from dr_wandb.shell.sync.fetch_job import Fetched, FetchJob
from dr_wandb.shell.sync.segments import Segment
from dr_wandb.shell.sync.stored_parts import StoredParts


class AnswerJudge:
    """Judges the segments of one sync. Several threads may call it at once.

    source: the kind of source that answers. now: the time of this sync.
    """

    def __init__(self, stored: StoredParts, source: str, now: str) -> None:
        self._stored = stored
        self._source = source
        self._now = now

    def judge(
        self, job: FetchJob, dataset: str, fetch: PartFetch, segment: Segment
    ) -> tuple[Fetched, Verdict]:
        """Judge the rows of a segment; returns them with the verdict."""
        evidence = job.part(dataset).evidence
        stored = job.part(dataset).stored
        digest = segment.digest
        if stored is not None and segment.holds(stored):
            digest = stored.digest  # which may be of another kind
        comparison = self._compare(job, dataset, fetch, segment, digest)
        answer = Answer(
            dataset=dataset,
            window=fetch.window,
            tail=fetch.tail,
            received=segment.received,
            rows=segment.rows,
            digest=digest,
            begins_as_before=evidence is not None
            and segment.begins_with(evidence.answer_rows, evidence.answer_digest),
            comparison=comparison,
            stored=self._describe_stored(job, dataset),
        )
        added = comparison.adds if comparison is not None else segment.rows
        part = Fetched(segment=segment, window=fetch.window, selection=fetch.selection, added=added)
        return part, judge(
            job.listing,
            answer,
            job.before,
            selection=fetch.selection,
            source=self._source,
            now=self._now,
        )

    def _compare(
        self, job: FetchJob, dataset: str, fetch: PartFetch, segment: Segment, digest: str
    ) -> Comparison | None:
        """Compare the fetched rows with the stored ones, if these are of the same run.

        digest: of the fetched rows, in the kind of the stored ones if they are the same.
        """
        before, part = job.before, job.part(dataset)
        if before is None or part.stored is None:
            return Comparison(adds=segment.rows) if fetch.tail else None
        if holds_another_run(before, dataset, job.listing, self._source):
            return None
        return self._stored.compare(
            dataset,
            job.listing.run_id,
            part.stored,
            segment,
            digest=digest,
            under=part.rows.selection if part.rows is not None else EVERYTHING,
            selection=fetch.selection,
            start=fetch.window.start if fetch.tail else None,
            last_step=job.listing.counts_of(dataset).last_step,
        )

    def _describe_stored(self, job: FetchJob, dataset: str) -> Position | None:
        """Describe stored rows that the state does not describe, such as those of 3.0.3."""
        part = job.part(dataset)
        if part.stored is None or part.rows is not None:
            return None
        return self._stored.describe(dataset, job.listing.run_id, part.stored)
