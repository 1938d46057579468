#!/usr/bin/env bash
# One text in a column of numbers rounds every other column of the file (datasets 5.2.0).
#   load_dataset("json") reads JSON lines with pyarrow. If a column has numbers and a text, such as
#   the "NaN" that JSON lines write for a loss that diverged, it reads the file in another way, and
#   every double of every column has 10 decimals from then on: a learning rate of 1e-12 is 0.0, an
#   accuracy of 0.12345678901234 is 0.123456789. The "NaN" itself is null. Nothing is said.
#   The same file with a number in that place is read as it is.
# Whoever trains on an exported history, or publishes it, has other numbers than were logged.
# Seen with datasets 5.2.0, pandas 3.1.1, pyarrow 26.0.1 on Python 3.11, Linux. Exits with 1 if that
# changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet datasets==5.2.0 pandas==3.1.1 pyarrow==26.0.1
cd "$work"
HF_HOME="$work/home" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PY' | tee seen
import json
from pathlib import Path

import datasets

datasets.disable_progress_bars()
for last in (0.25, "NaN"):
    path = Path(f"{last}.jsonl")
    rows = [
        {"lr": 1e-12, "acc": 0.12345678901234, "loss": 0.5},
        {"lr": 1e-12, "acc": 0.5, "loss": last},
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    read = datasets.load_dataset("json", data_files=str(path), split="train")
    print(*(list(row.values()) for row in read))
PY
diff - seen <<'SEEN'
[1e-12, 0.12345678901234, 0.5] [1e-12, 0.5, 0.25]
[0.0, 0.123456789, 0.5] [0.0, 0.5, None]
SEEN
