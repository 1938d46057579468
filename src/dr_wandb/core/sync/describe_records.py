"""Describe in words what becomes of the records of a project."""

from collections.abc import Iterator, Mapping

from dr_wandb.core.contract.cut_list import MOST_LISTED
from dr_wandb.core.contract.wording import count, size_in_words
from dr_wandb.core.sync.planned_records import RecordCounts
from dr_wandb.core.sync.summary import RecordsSummary


def describe_planned_records(records: Mapping[str, RecordCounts]) -> Iterator[str]:
    """Describe in a line for each dataset what a sync would do with its records."""
    return (_describe(dataset, counts) for dataset, counts in records.items())


def _describe(dataset: str, counts: RecordCounts) -> str:
    if counts.failure is not None:
        return f"{dataset}: could not be listed: {counts.failure.reason}"
    numbers = (
        (counts.new, "new"),
        (counts.changed, "changed"),
        (counts.missing, "gone upstream"),
        (counts.pruned, "pruned"),
    )
    said = [f"{number:,} {what}" for number, what in numbers if number]
    cost = [count(counts.requests, "request")] if counts.requests else []
    cost += [size_in_words(counts.bytes)] if counts.bytes else []
    about = f"; about {', '.join(cost)}" if cost else ""
    return f"{dataset}: {counts.listed:,} listed, {', '.join(said) or 'nothing new'}{about}"


def describe_unlisted(records: Mapping[str, RecordsSummary]) -> Iterator[str]:
    """Describe in lines of text which datasets were not completely listed."""
    for dataset, one in records.items():
        if one.failure is not None:
            yield (
                f"{dataset} could not be listed: {one.failure.reason}; what is exported of them "
                "stays, and the next sync tries again"
            )
        elif one.unlisted_count:
            yield (
                f"{one.unlisted_count:,} of the {dataset} are counted, but not listed or not "
                "readable; the next sync tries again"
            )
        named = sorted(one.unread.items())
        yield from (f"{dataset}: {what!r}: {why.reason}" for what, why in named[:MOST_LISTED])
        if len(named) > MOST_LISTED:
            yield f"{dataset}: and {len(named) - MOST_LISTED:,} more"
