"""The laws of a sync, against a project that anything may happen to between and during syncs.

The machine drives an in-memory W&B and syncs it, by whatever request is in force, into one folder.
Its parts are in `machine/`: what happens (project, faults, requests, syncs, crashes), and what must
be so then (files, changes_model, convergence).
"""

import pytest
from hypothesis import settings

from tests.property.machine.crashes import CrashRules


class SyncMachine(CrashRules):
    """Everything that may happen."""


# Making a failure small may take minutes, and is worth more than the failure as it was found.
TestSyncMachine = pytest.mark.timeout(1800)(SyncMachine.TestCase)
TestSyncMachine.settings = settings(stateful_step_count=30)
