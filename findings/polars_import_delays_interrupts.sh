#!/usr/bin/env bash
# After `import polars`, an interrupt does not end a wait for a result (polars 2.1.0).
#   Ctrl-C in a process that waits without a timeout, as `Future.result()`, `as_completed()` and
#   `Lock.acquire()` do, raises KeyboardInterrupt at once. Once polars was imported it is raised
#   only when the wait is over: polars puts a handler of its own in front of Python's, with which
#   the system resumes the wait. A wait with a timeout is interrupted as before.
# In a notebook that had loaded a frame, a sync that waited for W&B could not be stopped. Hence no
# wait of ours is without a timeout.
# Seen with polars 2.1.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet polars==2.1.0
cat >"$work/wait.py" <<'PY'
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future

if sys.argv[1] == "with":
    import polars  # noqa: F401

result = Future()
began = time.monotonic()
threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
threading.Timer(4, lambda: result.set_result(None)).start()
try:
    result.result(timeout=9 if sys.argv[2] == "timeout" else None)
except KeyboardInterrupt:
    print(f"{time.monotonic() - began:.0f}")
PY
waited() { "$work/venv/bin/python" "$work/wait.py" "$@"; }
without=$(waited without endless) with=$(waited with endless) slice=$(waited with timeout)
echo "interrupted after 1 s; noticed after $without s, with polars after $with s,"
echo "with polars and a timeout after $slice s; the result came after 4 s"
test "$without" -le 2
test "$with" -ge 4
test "$slice" -le 2
