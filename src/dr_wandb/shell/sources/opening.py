"""Open a source by its name on the command line, importing only what that source needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest, check_source
from dr_wandb.shell.sources import Source

SourceOpener = Callable[[ExportRequest, Path], Source]
"""Opens a source, given a private folder that is removed when the sync has ended."""


def open_api(request: ExportRequest, private: Path) -> Source:
    """Open the W&B API, with `private` as the folder for everything that the SDK writes.

    Raises InvalidRequestError for a request that needs another source.
    """
    check_source("api", any_project=request.any_project)
    from dr_wandb.shell.sources.api.environment import check_environment

    check_environment()
    from dr_wandb.shell.sources.api.source import ApiSource

    return ApiSource.open(request, private)


def source_opener(source: str) -> SourceOpener:
    """Return a function that opens the source of this name.

    Raises InvalidRequestError for an unknown name. The function raises it for a request that the
    source cannot answer.
    """
    check_source(source)
    if source == "api":
        return open_api
    kind, _, path = source.partition(":")
    folder = Path(path).expanduser()  # shells do not expand it after a colon

    def open_folder(request: ExportRequest, private: Path) -> Source:
        check_source(source, request.scope, any_project=request.any_project)
        if kind == "replay":
            return _open_recording(request, folder)
        return _open_offline(request, folder, private)

    return open_folder


def _open_recording(request: ExportRequest, folder: Path) -> Source:
    from dr_wandb.shell.sources.recording.source import RecordedSource

    source = RecordedSource(folder)
    recorded, wanted = (source.entity, source.project), (request.entity, request.project)
    if recorded != wanted:
        problem = f"the recording {folder} is of {'/'.join(recorded)}, not {'/'.join(wanted)}"
        raise InvalidRequestError([problem])
    return source


def _open_offline(request: ExportRequest, folder: Path, private: Path) -> Source:
    from dr_wandb.shell.sources.offline.source import OfflineSource

    return OfflineSource.open(request, folder, private)


@contextmanager
def opened(
    source: Source | SourceOpener, request: ExportRequest, scratch: Path
) -> Iterator[Source]:
    """Open a source unless it is open, and close it if it was opened here."""
    if not callable(source):
        yield source
        return
    private = scratch / "source"
    private.mkdir(exist_ok=True)
    made = source(request, private)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def recorded(
    source: Source, folder: Path | None, request: ExportRequest, exported_at: str
) -> Iterator[Source]:
    """Record the answers of a source if a folder is given; a failed sync records nothing."""
    if folder is None:
        yield source
        return
    from dr_wandb.shell.sources.recording.recorder import Recorder

    with Recorder(
        source,
        folder,
        recorded_at=exported_at,
        entity=request.entity,
        project=request.project,
        mode=request.mode,
        secrets=source.secrets,
    ) as recorder:
        yield recorder


def require_apart(folder: Path, record: Path | None) -> None:
    """Refuse a recording inside an export."""
    if record is not None and record.resolve().is_relative_to(folder.resolve()):
        problem = f"the recording {record} would be inside the export; name another folder"
        raise InvalidRequestError([problem])
