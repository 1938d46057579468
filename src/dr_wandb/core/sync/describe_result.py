"""The last words of a sync, for people: what is there now, what this sync did, what to do next."""

import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from dr_wandb.core.contract.held_rows import limits_in_words, rows_in_words
from dr_wandb.core.contract.wording import duration, size_in_words
from dr_wandb.core.sync.describe import describe_unproven
from dr_wandb.core.sync.summary import ExportSummary


def describe_result(summary: ExportSummary, seconds: float) -> tuple[str, ...]:
    """Describe a sync in lines of text. seconds: how long it took."""
    return (*_describe(summary, seconds), *describe_unproven(summary))


def _describe(summary: ExportSummary, seconds: float) -> Iterator[str]:
    holds = [_number(summary.run_count, "run")]
    if summary.history_path is not None or summary.history_count:
        holds.append(_number(summary.history_count, "row"))
    holds += rows_in_words(summary.datasets)
    holds += [
        f"{records.count:,} {dataset if records.count != 1 else dataset.removesuffix('s')}"
        for dataset, records in summary.records.items()
    ]
    holds.append(size_in_words(summary.bytes))
    yield (
        f"{summary.name} holds {', '.join(holds)} of {summary.entity}/{summary.project} "
        f"in {summary.output_dir}"
    )
    sent = f", {_number(summary.requests, 'request')}" if summary.requests else ""
    yield f"this sync: {', '.join(_changes(summary))}; {duration(seconds)}{sent}"
    yield from limits_in_words(summary.datasets)
    if summary.new_count and summary.new_count == summary.run_count and summary.complete:
        yield "to bring it up to date later:"
        yield f"  {_again(summary)}"


def _again(summary: ExportSummary) -> str:
    """Return the command that brings an export up to date."""
    root = PurePosixPath(summary.output_dir).parent
    flag = "" if root == PurePosixPath("data") else f" --data-root {shlex.quote(str(root))}"
    return f"wandb-export sync {shlex.quote(summary.name)}{flag}"


def _changes(summary: ExportSummary) -> Iterator[str]:
    counts = (
        (summary.new_count, "new"),
        (summary.refreshed_count, "refreshed"),
        (summary.reused_count, "unchanged"),
        (summary.pruned_count, "pruned"),
        (summary.missing_count, "gone upstream and kept"),
        (summary.failed_count, "failed"),
        (len(summary.short), "short"),
        (len(summary.waiting), "waiting"),
    )
    said = [f"{number:,} {what}" for number, what in counts if number]
    yield from said or ["no runs"]
    if summary.rows_added:
        yield f"{_number(summary.rows_added, 'row')} added"
    if summary.rows_removed:
        yield f"{_number(summary.rows_removed, 'row')} dropped or cut"
    for dataset, records in summary.records.items():
        of_records = (
            (records.new_count, f"new {dataset}"),
            (records.changed_count, f"changed {dataset}"),
            (records.pruned_count, f"pruned {dataset}"),
            (records.missing_count, f"{dataset} gone upstream and kept"),
        )
        yield from (f"{number:,} {what}" for number, what in of_records if number)


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
