"""Read an export with the loader of the tool in whose environment this runs: NAME DATA_ROOT."""

import json
import sys
import time
from pathlib import Path

from dr_wandb import iter_history_rows


def main(name: str, data_root: Path) -> None:
    """Print how many rows there are, the sum of their steps, and how long reading them took."""
    started = time.perf_counter()
    rows = steps = 0
    for row in iter_history_rows(name, data_root):
        rows += 1
        steps += row.step or 0
    seconds = time.perf_counter() - started
    print(json.dumps({"rows": rows, "steps": steps, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
