#!/usr/bin/env bash
# What wandb 0.31.0 gives for a run whose history is exported to Parquet (Run.scan_history):
#   1. A column of mixed type (a metric with one NaN is said to be enough) comes as objects with a
#      member for each type: {"_type_float64": 0.5, "_type_utf8": null} instead of 0.5.
#   2. A row whose _step is null is left out, without a word: 3 of 4 rows come.
#   3. A step that lies in two files, as before they are compacted, comes as two rows, each with
#      the columns of its own file.
#   4. Bytes that hold JSON text come as base64 text.
# A run that is read before it is exported has none of this, so the same run reads otherwise later.
# Seen with wandb 0.31.0 and pyarrow 26.0.1 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check wandb==0.31.0 pyarrow==26.0.1
cat >"$work/scan.py" <<'PYTHON'
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

steps = pa.array([0, 1, 2, 3])
mixed = pa.struct([("_type_float64", pa.float64()), ("_type_utf8", pa.string())])
loss = [{"_type_float64": 0.5}, {"_type_utf8": "NaN"}, {"_type_float64": 0.25}, None]
RUNS = {
    "mixed": [{"_step": steps, "loss": pa.array(loss, mixed)}],
    "stepless": [{"_step": pa.array([0, None, 2, 3]), "loss": pa.array([0.5, 1.5, 2.5, 3.5])}],
    "split": [{"_step": steps, "a": steps}, {"_step": steps, "b": steps}],
    "bytes": [{"_step": steps, "value": pa.array([b"[1]", b"[2]", None, b"[4]"])}],
}


def content(columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        _, name, number = self.path.split("?")[0].split("/")
        self.answer(content(RUNS[name][int(number)]))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = asked.get("variables") or {}
        name = names.get("name") or names.get("runName") or ""
        base = f"http://127.0.0.1:{self.server.server_port}"
        urls = [f"{base}/{name}/{number}" for number in range(len(RUNS.get(name, ())))]
        run = {
            "id": "id", "name": name, "displayName": name, "projectId": "1", "state": "finished",
            "tags": [], "config": "{}", "summaryMetrics": "{}", "systemMetrics": "{}",
            "createdAt": "2026-01-01T00:00:00Z", "heartbeatAt": "2026-01-01T00:00:00Z",
            "historyLineCount": 4, "historyKeys": {"lastStep": 3, "sets": [], "keys": {}},
            "user": {"name": "n", "username": "n"}, "readOnly": False,
            "parquetHistory": {"parquetUrls": urls, "liveData": []},
        }
        viewer = {"id": "v", "entity": "e", "username": "n", "email": "", "flags": "{}",
                  "teams": {"edges": []}}
        data = {"viewer": viewer, "project": {"run": run}}
        self.answer(json.dumps({"data": data}).encode(), "application/json")

    def answer(self, body, kind="application/octet-stream"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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

api = wandb.Api(timeout=60)
rows = {name: list(api.run(f"e/p/{name}").scan_history(use_cache=False)) for name in RUNS}
for name, found in rows.items():
    print(name, *found, sep="\n  ")
assert [row["loss"] for row in rows["mixed"]] == [
    {"_type_float64": 0.5, "_type_utf8": None},
    {"_type_float64": None, "_type_utf8": "NaN"},
    {"_type_float64": 0.25, "_type_utf8": None},
    None,
], rows["mixed"]
assert [row["_step"] for row in rows["stepless"]] == [0, 2, 3], rows["stepless"]
assert len(rows["split"]) == 8, rows["split"]
assert all(("a" in row) != ("b" in row) for row in rows["split"]), rows["split"]
assert [row["value"] for row in rows["bytes"]] == ["WzFd", "WzJd", None, "WzRd"], rows["bytes"]
print("as described")
PYTHON
mkdir "$work/home"
cd "$work"
timeout 120 "$work/venv/bin/python" scan.py "$work/home"
