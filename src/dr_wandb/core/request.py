"""What a sync is asked to do, checked as a whole.

Rules
- A request that exists is sound: constructing, decoding or replacing one checks it.
- All problems are reported at once, in `InvalidRequestError.problems`.
- Strings are accepted where an enum, a path or a tuple is meant.
- Two selections that admit the same rows compare equal: keys are sorted and unique, a selection
  that admits everything is None.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import force_setattr

from dr_wandb.core.records import Record
from dr_wandb.core.values import clean_text

_T = TypeVar("_T")


class ExportMode(StrEnum):
    """What an export holds: run snapshots alone, or their history rows too."""

    METADATA = "metadata"
    HISTORY = "history"


class SyncMode(StrEnum):
    """Whether a sync builds on what is stored (`incremental`) or reads every run again."""

    INCREMENTAL = "incremental"
    FULL_RECONCILE = "full_reconcile"


class InvalidRequestError(ValueError):
    """A request that contradicts itself or holds a bad value.

    `problems` has one sentence for each, in the order of the fields.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class HistoryWindow(Record, frozen=True, kw_only=True):
    """Bounds on history: `min_step` inclusive, `max_step` exclusive, `max_records` per run.

    The bounds are those of `Run.scan_history` (wandb 0.31.0). A row without a step counts as
    step 0. `max_records` keeps the last rows in the order of `history.jsonl`.
    """

    min_step: int | None = None
    max_step: int | None = None
    max_records: int | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be {least} or more, not {value!r}"
            for name, value, least in (
                ("min_step", self.min_step, 0),
                ("max_step", self.max_step, 0),
                ("max_records", self.max_records, 1),
            )
            if value is not None and not _is_count(value, least)
        ]
        backwards = (
            not problems
            and self.max_step is not None
            and not (self.min_step is None or self.min_step <= self.max_step)
        )
        if backwards:
            problems.append(f"min_step {self.min_step} is beyond max_step {self.max_step}")
        if problems:
            raise InvalidRequestError(problems)

    def admits_step(self, step: int | None) -> bool:
        """Say whether a row of this step lies inside the window."""
        place = 0 if step is None else step
        return (self.min_step is None or place >= self.min_step) and (
            self.max_step is None or place < self.max_step
        )


class HistorySelection(Record, frozen=True, kw_only=True):
    """Which history rows and metrics to keep.

    `keys` keeps the rows that have at least one of them, with just those metrics. A key is an
    exact name, or a dotted path into a nested value. None keeps everything.
    """

    keys: tuple[str, ...] | None = None
    window: HistoryWindow | None = None

    def __post_init__(self) -> None:
        if isinstance(self.keys, str):
            force_setattr(self, "keys", (self.keys,))
        if self.keys is not None:
            if not all(isinstance(key, str) and key.strip() for key in self.keys):
                raise InvalidRequestError(["a history key must not be blank"])
            keys = {clean_text(key) for key in self.keys}
            force_setattr(self, "keys", tuple(sorted(keys)) or None)
        if self.window == HistoryWindow():
            force_setattr(self, "window", None)

    @property
    def bounds(self) -> HistoryWindow:
        """Return the window, an open one where there is none."""
        return self.window or HistoryWindow()


EVERYTHING = HistorySelection()
"""The selection that admits every row with all its metrics."""


class ExportRequest(Record, frozen=True, kw_only=True):
    """One sync: which project, into which export, and how.

    `name` is one folder name below `data_root`. `runs_per_page` is the page size of the listing
    (W&B serves at most 1000). `timeout_seconds` is how long one call may go without progress.
    Raises InvalidRequestError with every problem found.
    """

    entity: str
    project: str
    name: str
    data_root: Path = Path("./data")
    mode: ExportMode = ExportMode.METADATA
    sync_mode: SyncMode = SyncMode.INCREMENTAL
    runs_per_page: int = 500
    timeout_seconds: int = 120
    include_metadata: bool = False
    history_selection: HistorySelection | None = None

    def __post_init__(self) -> None:
        problems = [
            *self._clean_address(),
            *self._clean_enum("mode", ExportMode),
            *self._clean_enum("sync_mode", SyncMode),
        ]
        if isinstance(self.data_root, str):
            force_setattr(self, "data_root", Path(self.data_root))
        for name in ("runs_per_page", "timeout_seconds"):
            if not _is_count(getattr(self, name), 1):
                problems.append(f"{name} must be 1 or more, not {getattr(self, name)!r}")
        if not isinstance(self.data_root, Path):
            problems.append(f"data_root must be a path, not {self.data_root!r}")
        if not isinstance(self.include_metadata, bool):
            problems.append(
                f"include_metadata must be true or false, not {self.include_metadata!r}"
            )
        if not isinstance(self.history_selection, HistorySelection | None):
            problems.append("history_selection must be a HistorySelection")
        if self.history_selection == EVERYTHING:
            force_setattr(self, "history_selection", None)
        if self.history_selection is not None and self.mode == ExportMode.METADATA:
            problems.append("a history selection needs mode history")
        if problems:
            raise InvalidRequestError(problems)

    @property
    def selection(self) -> HistorySelection:
        """Return the selection in force, `EVERYTHING` where none was given."""
        return self.history_selection or EVERYTHING

    def _clean_address(self) -> list[str]:
        problems = []
        for name in ("entity", "project", "name"):
            value = getattr(self, name)
            if not isinstance(value, str):
                problems.append(f"{name} must be text, not {value!r}")
                continue
            force_setattr(self, name, value.strip())
            problems.extend(name_problems(name, value.strip()))
        return problems

    def _clean_enum(self, name: str, kind: type[StrEnum]) -> list[str]:
        value = getattr(self, name)
        try:
            force_setattr(self, name, kind(value))
        except ValueError:
            return [f"{name} must be one of {', '.join(kind)}, not {value!r}"]
        return []


def name_problems(name: str, value: str) -> list[str]:
    """Say what is wrong with an entity, a project, or the name of an export ("name")."""
    if not value:
        return [f"{name} must not be blank"]
    if "/" in value or "\\" in value:
        return [f"{name} must not have a path separator: {value!r}"]
    if any(ord(letter) < 32 for letter in value):
        return [f"{name} must not have control characters: {value!r}"]
    if clean_text(value) != value:
        return [f"{name} must be valid text, not {value!r}"]
    if name != "name":
        return []
    if value in {".", ".."}:
        return [f"name must be a folder name of its own, not {value!r}"]
    if len(value.encode()) > 200:
        return ["name must not be longer than 200 bytes"]
    return []


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@contextmanager
def all_problems() -> Iterator[Callable[[Callable[[], _T]], "_T | None"]]:
    """Let several parts of a request be made, and raise the problems of all of them together.

    Gives a function that calls another one, and returns None where that raises.
    """
    problems: list[str] = []

    def attempt(make: Callable[[], _T]) -> "_T | None":
        try:
            return make()
        except InvalidRequestError as error:
            problems.extend(error.problems)
            return None

    yield attempt
    if problems:
        raise InvalidRequestError(problems)


def check_source(source: str) -> None:
    """Refuse what is neither `api` nor `replay:DIR`."""
    kind, _, place = source.partition(":")
    if source != "api" and not (kind == "replay" and place):
        raise InvalidRequestError([f"source must be api or replay:DIR, not {source!r}"])


def build_selection(
    *,
    keys: Iterable[str] | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
    max_records: int | None = None,
) -> HistorySelection | None:
    """Make a selection from the flags of the command line, None where none is given."""
    selection = HistorySelection(
        keys=tuple(keys) if keys is not None else None,
        window=HistoryWindow(min_step=min_step, max_step=max_step, max_records=max_records),
    )
    return None if selection == EVERYTHING else selection


__all__ = [
    "EVERYTHING",
    "ExportMode",
    "ExportRequest",
    "HistorySelection",
    "HistoryWindow",
    "InvalidRequestError",
    "SyncMode",
    "build_selection",
]
