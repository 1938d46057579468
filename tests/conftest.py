"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: dev (default), ci, deterministic; the log.

Also what keeps the tests cheap: temporary files in memory, and few collections of garbage.
"""

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dr_wandb.cli.gc_tuning import OBJECTS_PER_COLLECTION
from dr_wandb.shell.progress import LOGGER

_SLOW_MACHINES = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "dev", max_examples=50, deadline=None, suppress_health_check=_SLOW_MACHINES
)
settings.register_profile(
    "ci", max_examples=1000, deadline=None, suppress_health_check=_SLOW_MACHINES, print_blob=True
)
settings.register_profile(
    "deterministic",
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=_SLOW_MACHINES,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

MEMORY = Path("/dev/shm")
"""A file system in memory, if there is one: the tests make and remove some 100,000 small files."""

ROOM_BYTES = 4 << 30
"""Free memory without which the tests leave their files on the disk; they need a tenth of it."""


def pytest_configure() -> None:
    """Let temporary files be in memory, unless TMPDIR says where they go."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    if shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # asks for TMPDIR again


def pytest_collection_finish() -> None:
    """Look for garbage as seldom as the command does: modules and tests are no garbage.

    And measure coverage in the tests' own thread alone, although it begins anew after each test
    that is not measured. In Python 3.11 two threads that begin to be traced at once break each
    other ("Cannot install a trace function while another ...").
    """
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    threading.settrace(None)  # as before coverage began
    pytest.MonkeyPatch().setattr(threading, "settrace", lambda _: None)


@pytest.fixture(autouse=True)
def every_test_has_a_fresh_log() -> Iterator[None]:
    """Undo what the command does to the log, so that each test hears it once."""
    yield
    LOGGER.handlers.clear()
    LOGGER.propagate = True
    LOGGER.setLevel("NOTSET")
