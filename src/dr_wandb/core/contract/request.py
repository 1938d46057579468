"""What a sync is asked to do, checked as a whole.

Rules
- Every request that exists is valid: constructing, decoding or replacing one checks it.
- All problems are reported at once, in `InvalidRequestError.problems`.
- Strings are accepted for enums, paths and tuples.
- A selection that admits everything is None.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import force_setattr

from dr_wandb.core.contract.dataset import DATASETS, FILES, HISTORY, PROJECT_DATASETS
from dr_wandb.core.contract.export_files import FORMATS
from dr_wandb.core.contract.file_choice import NO_FILE, FileChoice
from dr_wandb.core.contract.problems import InvalidRequestError, is_count, is_rate, name_problems
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.scope import EVERY_RUN, RunScope
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection


class ExportMode(StrEnum):
    """What an export holds: run snapshots alone, or their history rows too."""

    METADATA = "metadata"
    HISTORY = "history"


class SyncMode(StrEnum):
    """Which runs a sync looks at.

    `incremental`: new runs and those that are not settled. `detect_changes`: every run's listing,
    and the history of those that differ. `full_reconcile`: every run again.
    """

    INCREMENTAL = "incremental"
    DETECT_CHANGES = "detect_changes"
    FULL_RECONCILE = "full_reconcile"


class ExportRequest(Record, frozen=True, kw_only=True):
    """One sync: which project, into which export, and how.

    `name` is one folder name below `data_root`. `runs_per_page` is the most runs in a page of the
    listing (W&B serves at most 1000). `timeout_seconds` is how long one call may go without
    progress; a download that only trickles ends after ten times as long. `max_rate` is the maximum
    number of requests per second. `prune` drops runs that are gone upstream, `allow_empty` believes
    a listing without most runs, `allow_narrower` drops held rows that the selection does not admit.
    `any_project` also takes runs that were logged to another entity or project (offline runs only).
    `host_moved`: the W&B server has a new address. `moved_from`: the earlier ENTITY/PROJECT of a
    project that was renamed or moved. `extra_datasets` are requested beside the history, by name;
    `with_everything` requests the history and all datasets that the source has. `drop_datasets` are
    removed.
    `files` chooses the files of runs whose bytes are fetched. Without it they are those of all
    files if `extra_datasets` names the files, and of none if `with_everything` alone asks for them.
    `follow_links` are folders that links in run folders may lead to (offline runs only).
    `formats` ("jsonl", "parquet") are those in which the rows are held from now on, beside those
    that the export has; `drop_formats` are removed. Without either the formats stay, "jsonl" for a
    new export.
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
    scope: RunScope | None = None
    prune: bool = False
    allow_empty: bool = False
    allow_narrower: bool = False
    any_project: bool = False
    host_moved: bool = False
    moved_from: str | None = None
    max_rate: float | None = None
    extra_datasets: tuple[str, ...] = ()
    with_everything: bool = False
    drop_datasets: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    drop_formats: tuple[str, ...] = ()
    files: FileChoice | None = None
    follow_links: tuple[Path, ...] = ()

    if TYPE_CHECKING:
        # Only type checkers see this: texts are accepted, and the fields hold what becomes of them.
        def __init__(
            self,
            *,
            entity: str,
            project: str,
            name: str,
            data_root: Path | str = ...,
            mode: ExportMode | Literal["metadata", "history"] = ...,
            sync_mode: SyncMode | Literal["incremental", "detect_changes", "full_reconcile"] = ...,
            runs_per_page: int = ...,
            timeout_seconds: int = ...,
            include_metadata: bool = ...,
            history_selection: HistorySelection | None = ...,
            scope: RunScope | None = ...,
            prune: bool = ...,
            allow_empty: bool = ...,
            allow_narrower: bool = ...,
            any_project: bool = ...,
            host_moved: bool = ...,
            moved_from: str | None = ...,
            max_rate: float | None = ...,
            extra_datasets: tuple[str, ...] = ...,
            with_everything: bool = ...,
            drop_datasets: tuple[str, ...] = ...,
            formats: tuple[str, ...] = ...,
            drop_formats: tuple[str, ...] = ...,
            files: FileChoice | None = ...,
            follow_links: tuple[Path | str, ...] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        problems = [
            *self._clean_address(),
            *self._clean_enum("mode", ExportMode),
            *self._clean_enum("sync_mode", SyncMode),
        ]
        if isinstance(self.data_root, str):
            force_setattr(self, "data_root", Path(self.data_root))
        force_setattr(self, "follow_links", tuple(map(Path, self.follow_links)))
        problems += self._clean_files()
        problems += self._clean_datasets()
        problems += self._clean_formats()
        for name in ("runs_per_page", "timeout_seconds"):
            if not is_count(getattr(self, name), 1):
                problems.append(f"{name} must be 1 or more, not {getattr(self, name)!r}")
        if not isinstance(self.data_root, Path):
            problems.append(f"data_root must be a path, not {self.data_root!r}")
        for name in (
            "include_metadata",
            "prune",
            "allow_empty",
            "allow_narrower",
            "any_project",
            "host_moved",
            "with_everything",
        ):
            if not isinstance(getattr(self, name), bool):
                problems.append(f"{name} must be true or false, not {getattr(self, name)!r}")
        if not isinstance(self.scope, RunScope | None):
            problems.append("scope must be a RunScope")
        elif self.scope is not None and self.scope.contradiction is not None:
            problems.append(self.scope.contradiction)
        if self.scope == EVERY_RUN:
            force_setattr(self, "scope", None)
        if self.moved_from is not None and not _is_address(self.moved_from):
            problems.append(f"moved_from must be ENTITY/PROJECT, not {self.moved_from!r}")
        if self.max_rate is not None and not is_rate(self.max_rate):
            problems.append(f"max_rate must be above 0, not {self.max_rate!r}")
        if not isinstance(self.history_selection, HistorySelection | None):
            problems.append("history_selection must be a HistorySelection")
        elif self.selection.bounds.contradiction is not None:
            problems.append(self.selection.bounds.contradiction)
        if self.history_selection == EVERYTHING:
            force_setattr(self, "history_selection", None)
        if self.history_selection is not None and self.mode == ExportMode.METADATA:
            problems.append("a history selection needs mode history")
        if problems:
            raise InvalidRequestError(problems)

    @property
    def selection(self) -> HistorySelection:
        """Return the selection, `EVERYTHING` if none was given."""
        return self.history_selection or EVERYTHING

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the requested datasets of runs. Held rows of other datasets stay as they are."""
        of_mode = (HISTORY,) if self.mode == ExportMode.HISTORY else ()
        return (*of_mode, *(name for name in self.extra_datasets if name in DATASETS))

    @property
    def project_datasets(self) -> tuple[str, ...]:
        """Return the requested datasets of the project. Held records of others stay."""
        return tuple(name for name in self.extra_datasets if name in PROJECT_DATASETS)

    @property
    def takes_all_rows(self) -> bool:
        """Say whether the whole history of every run is requested, with every metric."""
        selects = self.scope is not None or not self.selection.admits_whole_rows
        return self.mode == ExportMode.HISTORY and not selects

    @property
    def is_selective(self) -> bool:
        """Say whether runs are chosen by a scope, or metrics by their names."""
        return self.scope is not None or self.selection.keys is not None

    def selection_of(self, dataset: str) -> HistorySelection:
        """Return the selection for a dataset; of all but the history every row is kept."""
        return self.selection if DATASETS[dataset].selects else EVERYTHING

    def contents_of(self, dataset: str) -> FileChoice:
        """Return which bytes are wanted beside the rows of a dataset; of most there are none."""
        if not DATASETS[dataset].has_content or self.files is None:
            return NO_FILE
        return self.files

    def _clean_files(self) -> list[str]:
        """Say once and for all which bytes are wanted, while it is known what was named."""
        named = FILES in self.extra_datasets
        if self.files is None:
            if self.with_everything is True or named:
                force_setattr(self, "files", FileChoice(fetch=named))
            return []
        if not isinstance(self.files, FileChoice):
            return ["files must be a FileChoice"]
        if named or self.with_everything is True or not self.files.fetch:
            return []
        return ["a choice of files needs the dataset files: --with files"]

    def _clean_address(self) -> list[str]:
        problems = []
        for name in ("entity", "project", "name"):
            value = getattr(self, name)
            if isinstance(value, str):
                force_setattr(self, name, value.strip())
            problems.extend(name_problems(name, getattr(self, name)))
        return problems

    def _clean_datasets(self) -> list[str]:
        dropped = {*self.drop_datasets}
        wanted = {*self.extra_datasets} - {HISTORY}
        problems = [
            f"dataset {name} cannot be asked for and dropped at once"
            for name in sorted(wanted & dropped)
        ]
        if self.with_everything is True:
            wanted = {*DATASETS, *PROJECT_DATASETS} - {HISTORY} - dropped
            force_setattr(self, "mode", ExportMode.HISTORY)
        force_setattr(self, "extra_datasets", tuple(sorted(wanted)))
        force_setattr(self, "drop_datasets", tuple(sorted(dropped)))
        known = {*DATASETS, *PROJECT_DATASETS}
        unknown = [name for name in sorted(wanted | dropped) if name not in known]
        problems += [f"there is no dataset {name!r}" for name in unknown]
        if HISTORY in dropped:
            problems.append("the history cannot be dropped; drop_formats removes a form of it")
        return problems

    def _clean_formats(self) -> list[str]:
        for name in ("formats", "drop_formats"):
            force_setattr(self, name, tuple(sorted({*getattr(self, name)})))
        known = " or ".join(FORMATS)
        return [
            f"a format is {known}, not {name!r}"
            for name in (*self.formats, *self.drop_formats)
            if name not in FORMATS
        ] + [
            f"format {name} cannot be asked for and dropped at once"
            for name in self.formats
            if name in self.drop_formats
        ]

    def _clean_enum(self, name: str, kind: type[StrEnum]) -> list[str]:
        value = getattr(self, name)
        try:
            force_setattr(self, name, kind(value))
        except ValueError:
            return [f"{name} must be one of {', '.join(kind)}, not {value!r}"]
        return []


def _is_address(value: Any) -> bool:
    parts = value.split("/") if isinstance(value, str) else ()
    return len(parts) == 2 and all(part.strip() for part in parts)


def check_source(
    source: str,
    scope: RunScope | None = None,
    *,
    any_project: bool = False,
    follow_links: bool = False,
) -> None:
    """Refuse an unknown source, and flags that it does not support."""
    kind, _, location = source.partition(":")
    problems = []
    if source != "api" and not (kind in ("replay", "offline") and location):
        problems.append(f"source must be api, replay:DIR or offline:DIR, not {source!r}")
    elif source != "api" and scope is not None and scope.filters is not None:
        problems.append("a run filter needs source api; the other flags work with any")
    if follow_links and kind != "offline":
        problems.append("follow_links needs source offline:DIR: W&B has no links")
    if any_project and kind != "offline":
        problems.append(
            "any_project needs source offline:DIR; from W&B, export one project at a time"
        )
    if problems:
        raise InvalidRequestError(problems)
