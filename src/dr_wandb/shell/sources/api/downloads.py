"""Download a run's files with the SDK, into folders of our own.

Rules (measured with wandb 0.29 to 0.31)
- The SDK does not raise if it cannot download an exported file: it names the file in `errors`.
- It has no timeout: the bytes on disk are watched here, and `core.sync.deadline` decides when to
  give up. Then the SDK's handle is made to fail, so that wandb-core cancels the download.
- It makes a file name of the run id, so an id with a path separator is not passed to it.
- A download that was given up may still write, so every try has a folder of its own.
- A full disk is no fault of the run: it is raised as the OSError that it is, and ends the sync.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.deadline import begin_progress, note_bytes, reason_to_give_up
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.pacing import PassingError, ThrottledError
from dr_wandb.shell.sources.api.sdk_errors import (
    REFUSED_STATUS,
    SDK_ERRORS,
    Trouble,
    full_disk,
    kind_of,
    reason_of,
    trouble_of_text,
)
from dr_wandb.shell.sources.api.session import ApiSession

_FILE = "downloaded"

LOOK_SECONDS = 0.2
"""The time between two looks at a download."""


class Exported(Enum):
    """Whether the exported rows of a run can be downloaded."""

    NONE = "there are none"
    GIVEN = "given"
    REFUSED = "refused"
    UNKNOWN = "not known"


class Downloads:
    """Downloads of one project. Every call has a folder of its own."""

    def __init__(
        self,
        session: ApiSession,
        request: ExportRequest,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._entity = request.entity
        self._project = request.project
        self._timeout = request.timeout_seconds
        self._clock = clock

    def new_folder(self) -> Path:
        """Create an empty folder, which the caller has to remove."""
        return Path(mkdtemp(prefix="download-", dir=self._session.private))

    def exports(self, run_id: str, folder: Path) -> tuple[list[Path], bool]:
        """Download a run's Parquet files. Returns them, and whether there are also live rows."""
        if "/" in run_id or "\\" in run_id:
            return [], True
        result = self._session.send(lambda: self._exports(run_id, folder))
        return sorted(result.paths), bool(result.contains_live_data)

    def _exports(self, run_id: str, folder: Path) -> Any:
        from wandb.apis.public import Run

        target = Path(mkdtemp(dir=folder))

        def download(service: Any) -> Any:
            address = SimpleNamespace(
                entity=self._entity, project=self._project, id=run_id, _service_api=service
            )
            return Run.download_history_exports(address, target, require_complete_history=False)

        result = self._watched(download, target)
        if result.errors:
            raise _missing(list(map(str, result.errors.values())))
        return result

    def file(self, node: Mapping[str, Any]) -> bytes:
        """Download one file of a run, given as its GraphQL node."""
        with self.saved(node) as path:
            return path.read_bytes()

    @contextmanager
    def saved(self, node: Mapping[str, Any]) -> Iterator[Path]:
        """Download one file of a run, given as its GraphQL node; it is deleted at the end."""
        folder = self.new_folder()
        try:
            yield self.save(node, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, node: Mapping[str, Any], folder: Path) -> Path:
        """Download one file, given as its GraphQL node, into a folder of its own below another."""
        path = self._session.send(lambda: self._file(node, Path(mkdtemp(dir=folder))))
        if not path.exists():
            reason = f"{node.get('name')} was not downloaded"
            raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER)
        return path

    def _file(self, node: Mapping[str, Any], folder: Path) -> Path:
        from wandb.apis.public import File

        def download(service: Any) -> None:
            file = File(service, {**node, "name": _FILE})
            file.download(root=str(folder), replace=True).close()

        self._watched(download, folder)
        return folder / _FILE

    def _watched(self, call: Callable[[Any], Any], folder: Path) -> Any:
        """Call the SDK to download into a folder; give up if `core.sync.deadline` says so."""
        outcome: list[Any] = []
        given_up = threading.Event()

        def work() -> None:
            try:
                with self._session.service() as service:
                    outcome.append(call(_UntilGivenUp(service, given_up)))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        progress = begin_progress(self._clock())
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            now = self._clock()
            progress = note_bytes(progress, _size_of(folder), now)
            reason = reason_to_give_up(progress, now, self._timeout)
            if reason is not None and thread.is_alive():
                given_up.set()
                raise PassingError(reason, RunFailureKind.TIMEOUT)
        answer = outcome[0]
        if isinstance(answer, SDK_ERRORS):
            full = full_disk(answer)
            if full is not None:
                raise full
            raise self._session.translate(answer) from answer
        if isinstance(answer, BaseException):
            raise answer
        return answer


class _UntilGivenUp:
    """The SDK's handle to its service, which fails once a download was given up.

    The SDK asks for the state of a download of exports ten times a second; when that fails it
    cancels the download in wandb-core, which holds one of few slots there (wandb 0.31.0).
    """

    def __init__(self, service: Any, given_up: threading.Event) -> None:
        self._service = service
        self._given_up = given_up

    def __getattr__(self, name: str) -> Any:
        if self._given_up.is_set():
            raise SourceError("the download was cancelled", RunFailureKind.TIMEOUT)
        return getattr(self._service, name)


def ask_for_file(address: str, timeout_seconds: int) -> Exported:
    """Request the first byte of an exported file, to find out whether it can be downloaded.

    The SDK can only download complete files. It may use another proxy, or trust other
    certificates, so only a refusal counts as one; other errors are UNKNOWN.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        return Exported.UNKNOWN
    request = Request(address, headers={"Range": "bytes=0-0"})
    try:
        with urlopen(request, timeout=timeout_seconds):
            return Exported.GIVEN
    except HTTPError as error:
        return Exported.REFUSED if error.code in REFUSED_STATUS else Exported.UNKNOWN
    except (OSError, ValueError):
        return Exported.UNKNOWN


def _missing(reasons: list[str]) -> OSError | SourceError:
    """Return the error for missing files: a full disk, throttled or passing if a reason is one."""
    full = next(filter(None, map(full_disk, map(OSError, reasons))), None)
    if full is not None:
        return full
    first = OSError(reasons[0])
    text = f"{len(reasons):,} exported Parquet files could not be downloaded: {reason_of(first)}"
    troubles = {trouble_of_text(reason) for reason in reasons}
    if Trouble.THROTTLED in troubles:
        return ThrottledError(text)
    error = PassingError if Trouble.PASSING in troubles else SourceError
    return error(text, kind_of(first))


def _size_of(folder: Path) -> int:
    size = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size
