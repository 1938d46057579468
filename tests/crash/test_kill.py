"""A real process, killed without warning, again and again."""

import random
import subprocess
import sys
import time
from pathlib import Path

from tests import syncing
from tests.crash.sync_until_killed import project
from tests.crash.test_crash_prefixes import assert_loads

KILLS = 10
LONGEST_SECONDS = 0.25


def test_an_export_survives_kills_at_any_moment(tmp_path: Path) -> None:
    """After each kill the export loads; in the end one more sync has it as if there were none."""
    moments = random.Random(20260310)
    for growth in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.crash.sync_until_killed", str(tmp_path), str(growth)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0, LONGEST_SECONDS))
            process.kill()
        assert_loads(tmp_path)
    source = project(KILLS)
    summary = syncing.sync(source, tmp_path)
    assert summary.complete
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(tmp_path / syncing.NAME) == syncing.data_of(fresh)
