"""Download a run's files with the SDK, into folders of our own.

Rules (measured with wandb 0.29 to 0.31)
- The SDK does not raise where an exported file cannot be had: it names it in `errors`.
- It has no timeout: the time without a byte more on disk is watched here.
- It makes a file name of the run id, so an id with a path separator is not given to it.
"""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

from wandb.apis.public import File, Run

from dr_wandb.core.request import ExportRequest
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api_session import SDK_ERRORS, ApiSession, reason_of

_FILE = "downloaded"


class Downloads:
    """Downloads of one project. Every call has a folder for itself."""

    def __init__(self, session: ApiSession, request: ExportRequest) -> None:
        self._session = session
        self._entity = request.entity
        self._project = request.project
        self._timeout = request.timeout_seconds

    def new_folder(self) -> Path:
        """Make an empty folder; whoever asks for it removes it."""
        return Path(mkdtemp(prefix="download-", dir=self._session.private))

    def exports(self, run_id: str, folder: Path) -> tuple[list[Path], bool]:
        """Download a run's Parquet files; say whether there are live rows beside them."""
        if "/" in run_id or "\\" in run_id:
            return [], True
        address = SimpleNamespace(
            entity=self._entity,
            project=self._project,
            id=run_id,
            _service_api=self._session.service,
        )
        result = self._watched(
            lambda: Run.download_history_exports(address, folder, require_complete_history=False),
            folder,
        )
        if result.errors:
            first = reason_of(OSError(next(iter(result.errors.values()))))
            raise SourceError(
                f"{len(result.errors)} exported Parquet files could not be downloaded: {first}"
            )
        return sorted(result.paths), bool(result.contains_live_data)

    def file(self, node: Mapping[str, Any]) -> bytes:
        """Download one file of a run, given as its GraphQL node."""
        folder = self.new_folder()
        try:
            file = File(self._session.service, {**node, "name": _FILE})
            self._watched(lambda: file.download(root=str(folder), replace=True).close(), folder)
            return (folder / _FILE).read_bytes()
        except FileNotFoundError:
            raise SourceError(f"{node.get('name')} did not arrive") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _watched(self, call: Callable[[], Any], folder: Path) -> Any:
        """Do a call of the SDK that writes into a folder; give up when nothing more comes."""
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.append(call())
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        size, since = -1, time.monotonic()
        while thread.is_alive():
            thread.join(0.2)
            now = _size_of(folder)
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > self._timeout:
                raise SourceError(f"no progress for {self._timeout} s while downloading")
        answer = outcome[0]
        if isinstance(answer, SDK_ERRORS):
            raise SourceError(reason_of(answer.__cause__ or answer)) from answer
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _size_of(folder: Path) -> int:
    size = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size
