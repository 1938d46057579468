#!/usr/bin/env bash
# What wandb 0.31.0 does with HTTP 429 and `Retry-After: 4` when its own tries are cut short with
# Settings(x_graphql_retry_max=1, x_graphql_retry_wait_max_seconds=1):
#   1. It waits the 4 seconds all the same: the longest wait that is set does not hold for the header.
#      Nothing is raised, printed or given to a callback meanwhile.
#   2. Its log names the refusal at once, but not how long the wait is.
#   3. x_graphql_retry_max=0 does not turn tries off: a request that is refused twice is sent a third
#      time (0 stands for the default, 20).
# So a program cannot do this waiting itself, nor say that it waits, but by reading the log.
# Seen with wandb 0.31.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check wandb==0.31.0
cat >"$work/wait.py" <<'PYTHON'
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

tries, refusals, header = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
asked = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        viewer = {"id": "v", "entity": "e", "username": "n", "email": "", "flags": "{}",
                  "teams": {"edges": []}}
        run = {
            "id": "id", "name": "r", "displayName": "r", "projectId": "1", "state": "finished",
            "tags": [], "config": "{}", "summaryMetrics": "{}", "systemMetrics": "{}",
            "createdAt": "2026-01-01T00:00:00Z", "heartbeatAt": "2026-01-01T00:00:00Z",
            "historyLineCount": 0, "historyKeys": {"lastStep": -1, "sets": [], "keys": {}},
            "user": {"name": "n", "username": "n"}, "readOnly": False,
        }
        refused = False
        if (body.get("variables") or {}).get("name") == "r":
            refused = len(asked) < refusals
            asked.append(time.monotonic())
        data = {"viewer": viewer, "project": {"internalId": "1", "run": run}}
        text = {"error": "rate limit exceeded"} if refused else {"data": data}
        content = json.dumps(text).encode()
        self.send_response(429 if refused else 200)
        if refused and header != "none":
            self.send_header("Retry-After", header)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = Path(sys.argv[1])
os.environ |= {
    "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}",
    "WANDB_API_KEY": "0" * 40,
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "WANDB_DIR": str(home),
    "WANDB_CACHE_DIR": str(home / "cache"),
    "HOME": str(home),
}
import wandb

wandb.setup(
    settings=wandb.Settings(
        x_graphql_retry_max=tries,
        x_graphql_retry_wait_min_seconds=1,
        x_graphql_retry_wait_max_seconds=1,
    )
)
api = wandb.Api(timeout=60)
name = api.run("e/p/r").id
waits = [round(after - before, 1) for before, after in zip(asked, asked[1:])]
(log,) = (home / "cache").rglob("core-debug-*.log")
lines = [json.loads(line) for line in log.read_text().splitlines()]
told = [line for line in lines if line["msg"] == "api: retrying HTTP error"]
print(f"tries again {tries}, Retry-After {header}: run {name} after waits of {waits} s")
print(*told, sep="\n")
assert len(told) == refusals, told
assert all(line["status"] == 429 for line in told), told
assert not any("etry-" in key or "wait" in key for line in told for key in line), told
if header == "none":
    assert len(waits) == 2, waits
else:
    assert len(waits) == 1 and waits[0] >= 4, waits
PYTHON
cd "$work"
mkdir "$work/one" "$work/two"
timeout 120 "$work/venv/bin/python" wait.py "$work/one" 1 1 4
timeout 120 "$work/venv/bin/python" wait.py "$work/two" 0 2 none
echo "as described"
