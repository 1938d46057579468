#!/usr/bin/env bash
# trackio stores another time, other integers and fewer columns than it was given (trackio 0.43.0).
#   log()         rows are sent in batches, twice a second, and have the time of their batch: rows
#                 logged 0.15 s apart have the same `timestamp`, up to half a second late.
#   import_csv()  drops a whole column if one cell of it is no number (`n/a`): the summary names
#                 just the columns that are left. All numbers become doubles: 2^53 + 1 is 2^53.
# Whoever moves a project there by CSV keeps the CSV, and whoever computes rows per second from the
# stored times gets bursts.
# Seen with trackio 0.43.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet trackio==0.43.0
cd "$work"
export TRACKIO_DIR="$work/data" HF_HUB_OFFLINE=1 HOME="$work"
cat >table.csv <<'CSV'
step,loss,seen
0,0.5,9007199254740993
1,n/a,1
CSV
"$work/venv/bin/python" - >said <<'PY'
import time

import trackio

trackio.init(project="logged", name="run")
for step in range(12):
    trackio.log({"loss": 1.0 / (step + 1), "now": time.time()})
    time.sleep(0.15)
trackio.finish()
trackio.import_csv("table.csv", project="imported", name="run")
PY
grep "Metrics found" said
"$work/venv/bin/python" - <<'PY'
import json
import sqlite3
from datetime import datetime


def rows_of(project):
    with sqlite3.connect(f"data/{project}.db") as store:
        return store.execute("select timestamp, metrics from metrics order by id").fetchall()


logged = rows_of("logged")
late = [datetime.fromisoformat(at).timestamp() - json.loads(row)["now"] for at, row in logged]
times = len({at for at, _ in logged})
print(f"12 rows, 0.15 s apart: {times} times, up to {max(late):.1f} s late")
imported = [json.loads(row) for _, row in rows_of("imported")]
print("imported:", *imported)
assert len(logged) == 12
assert times <= 6 and max(late) > 0.2
assert imported == [{"seen": 9007199254740992.0}, {"seen": 1.0}]
PY
