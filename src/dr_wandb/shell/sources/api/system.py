"""Read the samples of the machine of a run.

Rules
- `events` gives all samples, or a selection that W&B makes; its count says which.
- W&B exports all samples of an ended run to the artifact `run-<id>-events`, after hours or days. It
  is asked for if `events` gave a selection, and comes in place of that. Exported samples have no
  runtime (seen in 2026).
- If the artifact cannot be read in two attempts, the selection has to do.
"""

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dr_wandb.core.contract.dataset import SYSTEM
from dr_wandb.core.contract.fetch_window import WHOLE_RUN
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.shell.sources import FileBatch, HistoryBatch, RowBatch, SourceError
from dr_wandb.shell.sources.api.connections import ConnectionPage, read_connection
from dr_wandb.shell.sources.api.downloads import Downloads
from dr_wandb.shell.sources.api.live_history import AskRun

EVENTS = """
query RunFullHistory($entity: String!, $project: String!, $run: String!, $samples: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { eventsLineCount events(samples: $samples) }
  }
}
"""
"""Samples of a machine as JSON texts: all of them, or a selection of W&B's own."""

EVENTS_FILES = """
query EventsFiles(
  $entity: String!, $project: String!, $collection: String!, $cursor: String, $perPage: Int!
) {
  project(name: $project, entityName: $entity) {
    artifactCollection(name: $collection) {
      artifactMembership(aliasName: "latest") {
        files(after: $cursor, first: $perPage) {
          edges { node { id name: displayName url directUrl sizeBytes mimetype updatedAt md5 } }
          pageInfo { endCursor hasNextPage }
        }
      }
    }
  }
}
"""
"""The Parquet files of all samples of a run, in the newest version of its own artifact."""

MOST_SAMPLES = 10_000
"""The most samples that are requested: their answer has some megabytes."""

SPARE_SAMPLES = 100
"""Requested beyond the listed ones, for those that are taken meanwhile."""

LEAST_SAMPLES = 500
"""What W&B gives if it is not asked for a number."""

SHRINKING = 4

FILES_PER_PAGE = 1000

ROWS_AT_ONCE = 1000

LOOKUP_ATTEMPTS = 2

_UNKNOWN = ("artifactCollection", "artifactMembership")
"""Fields that older servers do not know."""


class SystemReader:
    """The samples of one project's runs. Several threads may call it at once.

    ask: sends a document with its variables, and returns the answer.
    """

    def __init__(self, ask_run: AskRun, ask: Any, downloads: Downloads) -> None:
        self._ask_run = ask_run
        self._ask = ask
        self._downloads = downloads
        self._has_artifacts = True

    def read(self, run: RunListing, attempt: int) -> Iterator[HistoryBatch]:
        """Read all samples, or else the selection that W&B gives."""
        asked, texts, listed = self._read_events(run)
        count = max(listed or 0, run.counts_of(SYSTEM).line_count or 0)
        complete = len(texts) >= count if count else len(texts) < min(asked, LEAST_SAMPLES)
        if not complete and run.terminal and attempt < LOOKUP_ATTEMPTS:
            exported = yield from self._read_exported(run, at_least=len(texts))
            if exported:
                return
        for start in range(0, len(texts), ROWS_AT_ONCE):
            yield RowBatch(rows=_decode(texts[start : start + ROWS_AT_ONCE]))

    def _read_events(self, run: RunListing) -> tuple[int, list[Any], int | None]:
        """Return how many samples were requested, the texts that came, and W&B's count."""
        count = run.counts_of(SYSTEM).line_count
        asked = MOST_SAMPLES if count is None else min(MOST_SAMPLES, count + SPARE_SAMPLES)
        asked = max(LEAST_SAMPLES, asked)

        def smaller(variables: Mapping[str, Any]) -> Mapping[str, Any]:
            nonlocal asked
            asked = max(LEAST_SAMPLES, asked // SHRINKING)
            return {**variables, "samples": asked}

        answer = self._ask_run(EVENTS, {"run": run.run_id, "samples": asked}, smaller)
        texts = [text for text in answer.get("events") or () if text is not None]
        listed = answer.get("eventsLineCount")
        return asked, texts, listed if type(listed) is int else None

    def _read_exported(self, run: RunListing, at_least: int) -> Generator[FileBatch, None, bool]:
        """Read the exported samples, and say whether there are enough of them."""
        nodes = self._exported_files(run)
        if not nodes:
            return False
        from dr_wandb.shell.sources.api.parquet import ParquetFiles, count_rows

        folder = self._downloads.new_folder()
        try:
            paths = [self._downloads.save(node, folder) for node in nodes]
            if sum(map(count_rows, paths)) < at_least:
                return False
            yield from ParquetFiles(paths=paths, window=WHOLE_RUN).batches()
            return True
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _exported_files(self, run: RunListing) -> Sequence[Mapping[str, Any]]:
        """Return the files of the newest artifact with samples, none if there is none."""
        nodes: list[Mapping[str, Any]] = []
        cursors: set[str | None] = {None}
        page = self._page_of_files(run, None)
        while page is not None:
            nodes += [node for node in page.nodes if str(node["name"]).endswith(".parquet")]
            if page.cursor in cursors:
                break
            cursors.add(page.cursor)
            page = self._page_of_files(run, page.cursor)
        return nodes

    def _page_of_files(self, run: RunListing, cursor: str | None) -> ConnectionPage | None:
        """Return some files of the artifact, None if there is none, or W&B knows of none."""
        if not self._has_artifacts:
            return None
        names = {"collection": f"run-{run.run_id}-events", "cursor": cursor}
        try:
            answer = self._ask(EVENTS_FILES, {**names, "perPage": FILES_PER_PAGE})
        except SourceError as error:
            if not any(field in str(error) for field in _UNKNOWN):
                raise
            self._has_artifacts = False
            return None
        collection = (answer.get("project") or {}).get("artifactCollection") or {}
        return read_connection((collection.get("artifactMembership") or {}).get("files"))


def _decode(texts: Sequence[Any]) -> Sequence[dict[str, Any]]:
    try:
        return list(map(_SAMPLE.decode, texts))
    except (TypeError, ValueError, RecursionError):
        return list(map(_decode_one, texts))


_SAMPLE = msgspec.json.Decoder(dict[str, Any])


def _decode_one(text: Any) -> dict[str, Any]:
    try:
        row = decode_json(text, "a sample")
    except (ValueError, TypeError) as error:
        raise SourceError(str(error), RunFailureKind.UNREADABLE) from error
    if not isinstance(row, dict):
        raise SourceError("a sample is not an object", RunFailureKind.UNREADABLE)
    return row
