"""Read the rows of one run in the middle of an export of this tool: NAME DATA_ROOT."""

import json
import sys
import time
from pathlib import Path

from dr_wandb import iter_history_rows, load_run_snapshots


def main(name: str, data_root: Path) -> None:
    """Print how many rows it has, the sum of their steps, and how long reading them took."""
    run_ids = sorted(snapshot.run.run_id for snapshot in load_run_snapshots(name, data_root))
    run_id = run_ids[len(run_ids) // 2]
    started = time.perf_counter()
    rows = steps = 0
    for row in iter_history_rows(name, data_root, run_ids=[run_id]):
        rows += 1
        steps += row.step or 0
    seconds = time.perf_counter() - started
    print(json.dumps({"rows": rows, "steps": steps, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
