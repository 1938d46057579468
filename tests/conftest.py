"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: dev (default), ci, deterministic; the log."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(autouse=True)
def every_test_has_a_fresh_log() -> Iterator[None]:
    """Undo what the command does to the log, so that each test hears it once."""
    yield
    LOGGER.handlers.clear()
    LOGGER.propagate = True
    LOGGER.setLevel("NOTSET")
