#!/usr/bin/env bash
# What wandb 0.31.0 makes of a GraphQL answer that has data and an error, with HTTP 200: all fields
# of a run, null for one, and an error that names this field by its `path`, with `extensions.code`.
# (GraphQL: "If an error was raised during execution, the response may include data".)
#   1. `Api.run` raises CommError: the run that came is nowhere, neither in the exception nor in what
#      it was raised from.
#   2. The code is gone too, and of the path there is only text before the message, as in
#      `input: project.run.systemMetrics too large`. So a program can tell a refusal from a field
#      that is too large, and one run of a page from all of them, by words alone.
#   3. The same answer without the error is a run.
# Seen with wandb 0.31.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check wandb==0.31.0
cat >"$work/partial.py" <<'PYTHON'
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with_error = sys.argv[1] == "error"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        viewer = {"id": "v", "entity": "e", "username": "n", "email": "", "flags": "{}",
                  "teams": {"edges": []}}
        run = {
            "id": "id", "name": "r", "displayName": "r", "projectId": "1", "state": "finished",
            "tags": [], "config": '{"lr": {"value": 0.125}}', "summaryMetrics": '{"loss": 0.25}',
            "systemMetrics": None, "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": "2026-01-01T00:00:00Z", "historyLineCount": 7,
            "historyKeys": {"lastStep": 6, "sets": [], "keys": {}},
            "user": {"name": "n", "username": "n"}, "readOnly": False,
        }
        answer = {"data": {"viewer": viewer, "project": {"internalId": "1", "run": run}}}
        if with_error and (body.get("variables") or {}).get("name") == "r":
            answer["errors"] = [{
                "message": "too large",
                "path": ["project", "run", "systemMetrics"],
                "extensions": {"code": "TOO_LARGE"},
            }]
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
import wandb
from wandb.apis.public import Api

try:
    run = Api(timeout=20).run("e/p/r")
    print("run", run.state, run.config, run.summary["loss"])
except wandb.errors.CommError as error:
    texts, chain = [], error
    while chain is not None:
        texts.append(f"{type(chain).__name__}: {str(chain).strip()} {vars(chain)}")
        chain = chain.__cause__ or chain.__context__
    print("CommError", str(error).strip())
    print("code kept:", any("TOO_LARGE" in text for text in texts))
    print("data kept:", any("0.125" in text or "0.25" in text for text in texts))
PYTHON
ask() {
  env -i PATH=/usr/bin:/bin HOME="$work" WANDB_API_KEY="$(printf 'k%.0s' {1..40})" \
    WANDB_ERROR_REPORTING=false WANDB_SILENT=true \
    timeout 120 "$work/venv/bin/python" "$work/partial.py" "$1"
}
with_error=$(ask error)
without=$(ask none)
echo "$with_error"
echo "$without"
expected="CommError input: project.run.systemMetrics too large
code kept: False
data kept: False"
test "$with_error" = "$expected"
test "$without" = "run finished {'lr': 0.125} 0.25"
echo "as seen: one field's error takes the run, its code and its path"
