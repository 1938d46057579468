"""List the files of a run, and give their bytes.

Rules
- All files are listed, and patterns are matched elsewhere: those of W&B have wildcards in names.
- A page with a null in it is a page: the SDK's own listing loses all that follows (wandb 0.31.0). A
  listing ends if W&B says so, or gives a cursor again. How many files came is judged elsewhere.
- Addresses are signed and expire. Those of one page are used while its files are fetched; an older
  one is requested again, and so is one that is refused.
- An address is no part of a row, so it is neither recorded nor stored.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dr_wandb.core.contract.dataset import FILES_PER_ANSWER
from dr_wandb.core.contract.file_names import name_spelled, spell_name
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.shell.sources import RawRow, RowBatch
from dr_wandb.shell.sources.api.file_bytes import ExpiredError, FileBytes
from dr_wandb.shell.sources.api.file_queries import FILES_PAGE
from dr_wandb.shell.sources.api.live_history import AskRun
from dr_wandb.shell.sources.contents import FileGoneError, Save, T

CAREFUL_FILES = (FILES_PER_ANSWER, 250, 50)
"""Most files in a page, by attempt."""

LEAST_FILES = 10
SHRINKING = 4

FRESH_SECONDS = 300.0
"""An address is used for this long: wandb-core takes one of an hour for expired (wandb 0.31.0)."""

_ADDRESSES = ("url", "directUrl")


class _Addresses(NamedTuple):
    """Addresses of the bytes of a file, a signed one and W&B's own, and when they were given."""

    direct: str
    own: str
    at: float


class RunFiles:
    """The files of one project's runs. Several threads may call it at once."""

    def __init__(
        self, ask_run: AskRun, download: FileBytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask_run = ask_run
        self._download = download
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Addresses] = {}

    def read(self, run: RunListing, attempt: int) -> Iterator[RowBatch]:
        """List all files of a run; the addresses of a batch are known until the next one."""
        most = CAREFUL_FILES[min(attempt, len(CAREFUL_FILES) - 1)]
        cursor: str | None = None
        seen: set[str | None] = {None}
        number = 0
        while True:
            variables = {"run": run.run_id, "first": most, "after": cursor, "fileNames": []}
            answer = self._ask_run(FILES_PAGE, variables, _smaller)
            connection = answer.get("files") or {}
            edges = [edge for edge in connection.get("edges") or () if edge]
            nodes = [edge["node"] for edge in edges if edge.get("node")]
            rows = [self._remember(run.run_id, node) for node in nodes]
            try:
                yield RowBatch(rows=rows, live=True, file=number)
            finally:
                self._forget(run.run_id, rows)
            number += 1
            info = connection.get("pageInfo") or {}
            cursor = edges[-1].get("cursor") if edges else None
            cursor = cursor or info.get("endCursor")
            if not info.get("hasNextPage") or cursor in seen:
                return
            seen.add(cursor)

    def find(self, run: RunListing, name: str) -> RawRow | None:
        """List one file of a run again, None if W&B has none of this name."""
        variables = {"run": run.run_id, "first": LEAST_FILES, "fileNames": [name_spelled(name)]}
        connection = self._ask_run(FILES_PAGE, variables).get("files") or {}
        nodes = [(edge or {}).get("node") for edge in connection.get("edges") or ()]
        found = [node for node in nodes if node and _name(node) == name]
        return self._remember(run.run_id, found[0]) if found else None

    def fetch(self, run: RunListing, name: str, save: Save[T]) -> T:
        """Let `save` take the bytes of a file; from a new address if the first one has expired."""
        addresses = self._take(run.run_id, name) or self._find_addresses(run, name)
        try:
            return self._download.fetch(addresses.direct, addresses.own, save)
        except ExpiredError:
            addresses = self._find_addresses(run, name)
            return self._download.fetch(addresses.direct, addresses.own, save)

    def _find_addresses(self, run: RunListing, name: str) -> _Addresses:
        found = self.find(run, name)
        addresses = None if found is None else self._take(run.run_id, name)
        if addresses is None:
            raise FileGoneError("it is no longer listed")
        return addresses

    def _remember(self, run_id: str, node: Mapping[str, Any]) -> dict[str, Any]:
        """Note the addresses of a file, and return its row without them."""
        own, direct = (str(node.get(name) or "") for name in _ADDRESSES)
        with self._lock:
            self._known[run_id, _name(node)] = _Addresses(direct, own, self._clock())
        row = {name: value for name, value in node.items() if name not in _ADDRESSES}
        return {**row, "name": _name(node)}

    def _take(self, run_id: str, name: str) -> _Addresses | None:
        with self._lock:
            known = self._known.pop((run_id, name), None)
        return known if known and self._clock() - known.at < FRESH_SECONDS else None

    def _forget(self, run_id: str, rows: list[dict[str, Any]]) -> None:
        with self._lock:
            for row in rows:
                self._known.pop((run_id, row["name"]), None)


def _name(node: Mapping[str, Any]) -> str:
    return spell_name(str(node.get("name") or ""))


def _smaller(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**variables, "first": max(LEAST_FILES, variables["first"] // SHRINKING)}
