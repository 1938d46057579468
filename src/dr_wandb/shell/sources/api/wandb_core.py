"""wandb-core: the process that does the SDK's work, in folders of its own.

Rules
- It gets private folders before it starts, and its own retries are cut short.
- All sessions of this process share one; the last that returns it stops it.
- If wandb is already at work in this process, nothing is started and nothing is changed.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import wandb

from dr_wandb.core.sync.deadline import request_seconds
from dr_wandb.shell.background import result_of, start
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources.api.refusals import LOGS

_FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
_QUIET = ("WANDB_SILENT", "WANDB_ERROR_REPORTING")
_SERVICE = "WANDB_SERVICE"
"""Set by the SDK once its service runs, in this process or the one that started it."""

_RETRIES = 1
_RETRY_SECONDS = 1.0
"""The smallest value that wandb-core accepts: 0 means its defaults, 20 tries and 2 s; parts of a
second are cut off (wandb 0.29 and 0.31). So an error is reported after a second, or after
`Retry-After`, which `RefusalWatch` notices before."""

TEARDOWN_SECONDS = 5.0
"""How long wandb-core may take to end. If it is interrupted during downloads, it sometimes never
ends, and the SDK waits for it (wandb 0.31.0)."""


LOOK_SECONDS = 0.005
"""How often to look whether wandb-core is ready, which takes it 0.02 s."""


class Service:
    """The service that was started here, and the environment variables from before."""

    def __init__(self, private: Path, timeout_seconds: int) -> None:
        self._saved = {name: os.environ.get(name) for name in (*_FOLDERS, *_QUIET, _SERVICE)}
        self.sessions = 0
        for name in _FOLDERS:
            folder = private / name.lower()
            folder.mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(folder.resolve())
        self.logs = Path(os.environ["WANDB_CACHE_DIR"]) / LOGS
        os.environ["WANDB_SILENT"] = "true"
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        with _looking_often():
            started = start(lambda: wandb.setup(settings=_settings(timeout_seconds)))
            import_module("wandb.apis.public")  # takes as long as the start of wandb-core
            result_of(started)

    def give_back(self) -> None:
        """Note the end of a session; the last one stops it and restores the environment."""
        global _running
        with _service_lock:
            self.sessions -= 1
            if self.sessions:
                return
            _running = None
            try:
                _tear_down()
            finally:
                for name, value in self._saved.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value


@contextmanager
def _looking_often() -> Iterator[None]:
    """Let the SDK see that wandb-core is ready once it is; it looks every 0.2 s.

    Nothing changes if the SDK does not wait as 0.29 to 0.31 do.
    """
    try:
        port_file: Any = import_module("wandb.sdk.lib.service.service_port_file")
        sleep = port_file._SLEEP
    except (ImportError, AttributeError):
        yield
        return
    port_file._SLEEP = lambda seconds: time.sleep(min(seconds, LOOK_SECONDS))
    try:
        yield
    finally:
        port_file._SLEEP = sleep


def _tear_down() -> None:
    """Stop the service, and end wandb-core if it takes too long."""

    def work() -> None:
        try:
            wandb.teardown()
        except (Exception, SystemExit):  # teardown exits with the exit code of wandb-core
            LOGGER.debug("wandb-core did not stop cleanly", exc_info=True)

    core = _core()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(TEARDOWN_SECONDS)
    if thread.is_alive() and core is not None:
        core.kill()
        thread.join(TEARDOWN_SECONDS)


def _core() -> Any:
    """Return the process of wandb-core, None if the SDK does not store it as 0.29 to 0.31 do."""
    with suppress(AttributeError):
        return wandb.setup()._connection._proc._process
    return None


_service_lock = threading.Lock()
_running: Service | None = None


def borrow_service(private: Path, timeout_seconds: int) -> Service | None:
    """Return the service of this process, starting it if needed; None if wandb runs already."""
    global _running
    with _service_lock:
        if _running is None:
            if _SERVICE in os.environ:
                return None
            _running = Service(private, timeout_seconds)
        _running.sessions += 1
        return _running


def _settings(timeout_seconds: int) -> Any:
    return wandb.Settings(
        silent=True,
        x_graphql_retry_max=_RETRIES,
        x_graphql_retry_wait_min_seconds=_RETRY_SECONDS,
        x_graphql_retry_wait_max_seconds=_RETRY_SECONDS,
        x_graphql_timeout_seconds=request_seconds(timeout_seconds),
        x_file_transfer_retry_max=_RETRIES,
        x_file_transfer_retry_wait_min_seconds=_RETRY_SECONDS,
        x_file_transfer_retry_wait_max_seconds=_RETRY_SECONDS,
    )
