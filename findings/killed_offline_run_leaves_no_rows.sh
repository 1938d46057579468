#!/usr/bin/env bash
# What is left of an offline run of wandb whose machine dies (here: SIGKILL of the script and of
# wandb-core, 15 seconds after it logged 20 rows):
#   wandb 0.21.4: a .wandb file of 0 bytes.
#   wandb 0.25.0: one of 7 bytes, the header of the file.
#   wandb 0.31.0: the rows.
# Before 0.31 the file is written by whole blocks of 32 KiB and nothing flushes it in between, so up
# to that much of what was logged is in no file: of a run with two metrics some dozens of rows,
# however long ago they were logged.
# So a reader of .wandb files finds empty ones of runs that had logged for minutes, and can only
# name them.
# Seen with wandb 0.21.4, 0.25.0 and 0.31.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/train.py" <<'PYTHON'
import time

import wandb

run = wandb.init(project="demo", mode="offline")
for step in range(20):
    run.log({"loss": 1 / (step + 1), "acc": step / 20})
print("logged", flush=True)
time.sleep(60)
PYTHON
cat >"$work/kill.py" <<'PYTHON'
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

python, work = sys.argv[1], Path(sys.argv[2])
token = f"END_TOGETHER={os.getpid()}"
name, _, value = token.partition("=")
environment = {
    "PATH": os.environ["PATH"], "HOME": str(work), "WANDB_DIR": str(work), name: value,
    "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false",
}
script = subprocess.Popen(
    [python, work.parent / "train.py"], env=environment, stdout=subprocess.PIPE, text=True
)
assert script.stdout.readline() == "logged\n"
time.sleep(15)
for place in Path("/proc").glob("[0-9]*"):
    try:
        if token.encode() in (place / "environ").read_bytes().split(b"\0"):
            os.kill(int(place.name), signal.SIGKILL)
    except OSError:
        pass
script.wait()
(left,) = work.glob("wandb/offline-run-*/run-*.wandb")
print(left.stat().st_size)
PYTHON
seen=""
for version in 0.21.4 0.25.0 0.31.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/python" -m pip install --quiet --disable-pip-version-check "wandb==$version"
  mkdir "$work/home-$version"
  bytes=$(python3 "$work/kill.py" "$work/$version/bin/python" "$work/home-$version")
  echo "wandb $version: 20 rows logged, $bytes bytes in the file"
  seen="$seen $bytes"
done
read -r oldest older newest <<<"$seen"
test "$oldest" -eq 0 && test "$older" -eq 7 && test "$newest" -gt 1000
