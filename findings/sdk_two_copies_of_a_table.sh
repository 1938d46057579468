#!/usr/bin/env bash
# A table that is logged has two copies, which differ, and a number of rows that fits neither
# (wandb 0.31.0).
#   file of the run   10,000 rows at most; a missing double is the bare word NaN, which is no JSON;
#                     a Decimal is its text, a time ISO 8601.
#   artifact          all rows; NaN is null; a Decimal is a double, a time milliseconds.
#   value in history  `nrows` is how many rows the table has now. A table that grew and is logged
#                     again has the larger number beside the path of the file from before, whose
#                     rows are those of the first time.
# Whoever keeps only the files of a run lacks rows, whoever keeps only the artifact cannot tell a
# NaN from a missing value, and `nrows` proves neither.
# Seen with wandb 0.31.0 on Python 3.11, Linux, offline. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet wandb==0.31.0
cd "$work"
export HOME="$work" WANDB_DIR="$work" WANDB_DATA_DIR="$work/data" WANDB_CACHE_DIR="$work/cache"
export WANDB_MODE=offline WANDB_SILENT=true WANDB_ERROR_REPORTING=false
"$work/venv/bin/python" - <<'PY' | tee seen
import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import wandb

day = datetime(2026, 1, 1, tzinfo=UTC)
run = wandb.init(project="project")
rows = [[math.nan, Decimal("0.1"), day] for _ in range(10_050)]
run.log({"large": wandb.Table(columns=["loss", "price", "at"], data=rows)})
grown = wandb.Table(columns=["n"], data=[[1]])
run.log({"grown": grown})
grown.add_data(2)
run.log({"grown": grown})
value = dict(run.summary["grown"])
run.finish()

files = Path("wandb/latest-run/files")


def show(name, path):
    text = path.read_text()
    table = json.loads(text)
    if len(table["data"]) > 10:
        print(name, len(table["data"]), "rows, first", table["data"][0])


for path in sorted(files.glob("media/table/*.json")):
    show("file of the run:", path)
for path in sorted(Path("data/artifacts/staging").iterdir()):
    show("artifact:", path)
held = json.loads((files / value["path"]).read_text())["data"]
print("logged again:", value["nrows"], "rows by its value,", len(held), "in its file")
PY
sort -u seen | diff - <(sort <<'SEEN'
artifact: 10050 rows, first [None, 0.1, 1767225600000]
file of the run: 10000 rows, first [nan, '0.1', '2026-01-01T00:00:00Z']
logged again: 2 rows by its value, 1 in its file
SEEN
)
