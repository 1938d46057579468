#!/usr/bin/env bash
# What wandb 0.30.0 sends as the runtime of a run that is resumed (online, resume="allow"):
#   1. The second session counts on from N,000,000,000 seconds, where N are the seconds that the
#      first one took. They are multiplied by a billion twice, as if they were not nanoseconds yet.
#      Rows (`_runtime`) and summary (`_runtime`, `_wandb.runtime`) are sent like that.
#   2. The exit record in the file has the same, or -2147483648 if it does not fit into 32 bits.
#   3. The third session multiplies again, which does not fit into 64 bits any more: it counts on
#      from some number of seconds between -9,223,372,037 and 9,223,372,036 (-345,952,409 after
#      3,000,000,002).
#   wandb 0.31.0 counts on from the seconds of the session before.
# So runtimes of decades, and negative ones, are what W&B holds of such runs, too.
# Seen with wandb 0.30.0 and 0.31.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/train.py" <<'PYTHON'
import time

import wandb

run = wandb.init(entity="e", project="p", id="r", resume="allow")
for loss in (0.5, 0.25):
    run.log({"loss": loss})
time.sleep(3)
run.finish()
PYTHON
cat >"$work/exits.py" <<'PYTHON'
import sys
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

content, at, payload = Path(sys.argv[1]).read_bytes(), 7, b""
while at < len(content):
    if (left := -at % 32768) and left < 7:
        at += left
    size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
    payload += content[at + 7 : at + 7 + size]
    at += 7 + size
    if kind in (1, 4):  # the whole record, or the last piece of it
        record = Record.FromString(payload)
        payload = b""
        if record.HasField("exit"):
            print(record.exit.runtime)
PYTHON
cat >"$work/sessions.py" <<'PYTHON'
import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

version, python, home = sys.argv[1], sys.argv[2], Path(sys.argv[3])
rows, summaries, configs = [], [], []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        sent = json.loads(body)
        if not self.path.endswith("/file_stream"):
            return self.answer({"data": answer_to(sent)})
        files = sent.get("files") or {}
        rows.extend(map(json.loads, files.get("wandb-history.jsonl", {}).get("content", [])))
        summaries.extend(map(json.loads, files.get("wandb-summary.json", {}).get("content", [])))
        self.answer({})

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer({})

    def answer(self, value):
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def answer_to(sent):
    variables = sent.get("variables") or {}
    if variables.get("config"):
        configs.append(variables["config"])
    entity = {"id": "e", "name": "e", "organization": None}
    project = {"id": "p", "name": "p", "entity": entity}
    run = {
        "id": "UnVuOnYxOnI6cDpl", "name": "r", "displayName": "r", "project": project,
        "config": configs[-1] if configs else "{}", "wandbConfig": '{"t": {}}', "tags": [],
        "summaryMetrics": json.dumps(summaries[-1] if summaries else {}),
        "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]), "eventsTail": "[]",
        "historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0,
    }
    names = variables.get("files") or []
    base = f"http://127.0.0.1:{server.server_port}"
    files = [{"name": name, "uploadUrl": f"{base}/put/{name}"} for name in names]
    return {
        "viewer": {"id": "v", "entity": "e", "username": "n", "email": "", "flags": "{}",
                   "teams": {"edges": []}},
        "serverInfo": {"features": []},
        "entity": entity,
        "model": {**project, "bucket": run if configs else None},
        "upsertBucket": {"bucket": run, "inserted": len(configs) < 2},
        "createRunFiles": {"runID": run["id"], "uploadHeaders": [], "files": files},
    }


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
environment = {
    "PATH": os.environ["PATH"],
    "HOME": str(home),
    "WANDB_DIR": str(home),
    "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}",
    "WANDB_API_KEY": "0" * 40,
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
}
exits, runtimes = [], []
for session in range(3):
    first = len(rows)
    script = home.parent / "train.py"
    subprocess.run([python, script], env=environment, cwd=home, check=True, timeout=120)
    file = max(home.glob("wandb/run-*/run-r.wandb"), key=lambda path: path.stat().st_mtime_ns)
    read = [python, home.parent / "exits.py", file]
    exits += map(int, subprocess.run(read, check=True, capture_output=True, text=True).stdout.split())
    runtimes.append(summaries[-1]["_wandb"]["runtime"])
    times = [row["_runtime"] for row in rows[first:]]
    print(f"wandb {version}, session {session + 1}: rows at {times} s, summary", summaries[-1])
    print(f"  exit record: {exits[-1]} s")
assert len(rows) == 6 and len(exits) == 3, (rows, exits)
assert runtimes[0] == exits[0] and 2 <= exits[0] < 60, (runtimes, exits)
ends = [row["_runtime"] for row in rows[1::2]]
last = summaries[-1]["_wandb"]["runtime"]
if version == "0.30.0":
    second = runtimes[1]
    assert 0 <= ends[1] - 1e9 * exits[0] < 60, ends
    assert 0 <= second - ends[1] < 60, (second, ends)
    assert exits[1] == (second if second < 2**31 else -(2**31)), (second, exits)
    multiplied = (second * 10**18 + 2**63) % 2**64 - 2**63
    assert 0 <= ends[2] - multiplied / 1e9 < 60, (multiplied, ends)
    assert 0 <= last - ends[2] < 60, (last, ends)
else:
    assert exits[0] <= ends[1] < exits[1] <= ends[2] < exits[2] < 180, (ends, exits)
    assert last == exits[2], (last, exits)
PYTHON
for version in 0.30.0 0.31.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/python" -m pip install --quiet --disable-pip-version-check "wandb==$version"
  mkdir "$work/home-$version"
  timeout 300 python3 "$work/sessions.py" "$version" "$work/$version/bin/python" "$work/home-$version"
done
echo "as described"
