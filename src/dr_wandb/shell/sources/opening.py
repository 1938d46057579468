"""Open a source by what the command line calls it, importing only what that one needs."""

from collections.abc import Callable
from pathlib import Path

from dr_wandb.core.request import ExportRequest, InvalidRequestError, check_source
from dr_wandb.shell.sources import Source

SourceOpener = Callable[[ExportRequest, Path], Source]
"""Opens a source, given a private folder that is removed when the sync has ended."""


def open_api(request: ExportRequest, private: Path) -> Source:
    """Open the W&B API, with `private` as the folder for all that the SDK writes."""
    from dr_wandb.shell.sources.api import ApiSource

    return ApiSource.open(request, private)


def opener(source: str) -> SourceOpener:
    """Return what opens `api` or `replay:DIR`. Raises InvalidRequestError for anything else."""
    check_source(source)
    if source == "api":
        return open_api
    place = Path(source.partition(":")[2])
    return lambda request, private: _open_recording(request, place)


def _open_recording(request: ExportRequest, folder: Path) -> Source:
    from dr_wandb.shell.sources.recorded import RecordedSource

    source = RecordedSource(folder)
    recorded, wanted = (source.entity, source.project), (request.entity, request.project)
    if recorded != wanted:
        problem = f"the recording {folder} is of {'/'.join(recorded)}, not {'/'.join(wanted)}"
        raise InvalidRequestError([problem])
    return source
