"""The projects that the stand-in serves: plain objects that tests change directly.

Guarantees:
- no wall time: times come from `FakeClock` and from `created_at` and the number of the row;
- `Run.rows` is the source of truth for live rows; Parquet files are what they were when exported;
- a run made anew under an old id has another storage id;
- methods hold the server's lock, so that a request sees all of a change or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.server.artifacts import Collection
from tests.support.server.run import Run

if TYPE_CHECKING:
    from tests.support.server.world import World


class Project:
    """One project: its runs in order of creation."""

    def __init__(self, world: World, entity: str, name: str) -> None:
        self.world = world
        self.entity = entity
        self.name = name
        self.internal_id = str(world.next_number())
        self.runs: list[Run] = []
        self.hidden_runs: set[str] = set()
        self.collections: list[Collection | None] = []
        self.sweeps: list[dict[str, Any] | None] = []
        self.reports: dict[str, list[dict[str, Any] | None]] = {"runs": []}

    def add_run(self, run_id: str, **fields: Any) -> Run:
        """Create a run; `fields` are those of Run. Two runs may not share an id."""
        with self.world.lock:
            if any(run.run_id == run_id for run in self.runs):
                raise ValueError(f"run {run_id} exists; delete it first")
            run = Run(self, run_id, **fields)
            self.runs.append(run)
            return run

    def add_collection(self, name: str, type_name: str = "dataset") -> Collection:
        """Create a collection of artifacts."""
        with self.world.lock:
            collection = Collection(self, name, type_name)
            self.collections.append(collection)
            return collection

    def delete_run(self, run: Run) -> None:
        """Remove a run from listings and lookups."""
        with self.world.lock:
            self.runs.remove(run)

    def find_run(self, run_id: str) -> Run | None:
        """Return the run with this id."""
        with self.world.lock:
            return next((run for run in self.runs if run.run_id == run_id), None)

    def visible_runs(self) -> list[Run]:
        """Return the runs that listings show."""
        with self.world.lock:
            return [run for run in self.runs if run.run_id not in self.hidden_runs]
