#!/usr/bin/env bash
# What `wandb sync` of wandb 0.18.7 and 0.19.11 uploads of a run that the same version logged
# offline:
#   1. The config as it was when the run began: what was set later is not sent.
#   2. Nothing of what `define_metric` asked for (`_wandb.m`).
#   Online, these versions send both; so does `wandb sync` of 0.17.9, 0.21.4 and 0.28.0.
# In these versions wandb-core writes the file, and Python uploads it.
# So W&B may hold less of a run than the file on the disk that it was synced from.
# Seen with wandb 0.17.9, 0.18.7, 0.19.11, 0.21.4 and 0.28.0 on Python 3.11, Linux. Exits with 1 if
# that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/train.py" <<'PYTHON'
import time

import wandb

run = wandb.init(entity="e", project="p", id="r", config={"lr": 0.1})
run.define_metric("epoch")
run.define_metric("loss", step_metric="epoch", summary="min")
for epoch in range(3):
    run.log({"epoch": epoch, "loss": 1 / (epoch + 1)})
run.config.update({"late": 1})
time.sleep(2)
run.finish()
PYTHON
cat >"$work/sync.py" <<'PYTHON'
import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

version, bin, home = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
configs, rows = [], []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        sent = json.loads(body)
        if not self.path.endswith("/file_stream"):
            return self.answer({"data": answer_to(sent)})
        files = sent.get("files") or {}
        rows.extend(files.get("wandb-history.jsonl", {}).get("content", []))
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


def type_of(*fields):
    return {"fields": [{"name": name, "args": []} for name in fields],
            "inputFields": [{"name": name} for name in fields], "enumValues": []}


def answer_to(sent):
    variables = sent.get("variables") or {}
    if variables.get("config"):
        configs.append(json.loads(variables["config"]))
    entity = {"id": "e", "name": "e", "organization": None}
    project = {"id": "p", "name": "p", "entity": entity}
    run = {
        "id": "UnVuOnYxOnI6cDpl", "name": "r", "displayName": "r", "description": None,
        "config": json.dumps(configs[-1] if configs else {}), "sweepName": None,
        "project": project, "historyLineCount": 0,
    }
    names = variables.get("files") or []
    base = f"http://127.0.0.1:{server.server_port}"
    files = [{"name": name, "uploadUrl": f"{base}/put/{name}"} for name in names]
    info = {"max_cli_version": "0.99.0", "min_cli_version": "0.0.1"}
    return {
        "viewer": {"id": "v", "entity": "e", "username": "n", "email": "", "flags": "{}",
                   "teams": {"edges": []}},
        "serverInfo": {"features": [], "cliVersionInfo": info, "latestLocalVersionInfo": None},
        "entity": entity,
        "project": project,
        "model": {**project, "bucket": None},
        "upsertBucket": {"bucket": run, "inserted": True},
        "createRunFiles": {"runID": run["id"], "uploadHeaders": [], "files": files},
        "QueryType": type_of("viewer", "model", "project", "serverInfo", "entity"),
        "MutationType": type_of("upsertBucket", "createRunFiles"),
        "ServerInfoType": type_of("cliVersionInfo", "latestLocalVersionInfo"),
        "ServerSettingsType": type_of(),
        "CreateRunFilesInputType": type_of("entityName", "projectName", "runName", "files"),
    }


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
environment = {
    "PATH": f"{bin}:{os.environ['PATH']}",
    "HOME": str(home),
    "WANDB_DIR": str(home),
    "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}",
    "WANDB_API_KEY": "0" * 40,
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
}


def do(*command, **more):
    configs.clear()
    rows.clear()
    subprocess.run(
        command, env=environment | more, cwd=home, check=True, timeout=120,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


def sent(how):
    """Say whether the last config that was sent has what was set later, and the metrics."""
    own = configs[-1]["_wandb"]["value"] if configs else {}
    metrics = [metric["1"] for metric in own.get("m") or [] if "1" in metric]
    late = bool(configs) and "late" in configs[-1]
    print(f"wandb {version}, {how}: {len(rows)} rows, late: {late}, metrics: {sorted(metrics)}")
    assert len(rows) == 3, rows
    assert configs[-1]["lr"]["value"] == 0.1, configs
    return late, {"epoch", "loss"} <= {*metrics}


do(bin / "python", home.parent / "train.py")
online = sent("online")
do(bin / "python", home.parent / "train.py", WANDB_MODE="offline")
assert not configs, configs
(folder,) = home.glob("wandb/offline-run-*")
do(bin / "wandb", "sync", folder)
synced = sent("wandb sync")
assert online == (True, True), online
loses = version.startswith(("0.18.", "0.19."))
assert synced == ((False, False) if loses else (True, True)), synced
PYTHON
for version in 0.17.9 0.18.7 0.19.11 0.21.4 0.28.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/python" -m pip install --quiet --disable-pip-version-check "wandb==$version"
  mkdir "$work/home-$version"
  timeout 300 python3 "$work/sync.py" "$version" "$work/$version/bin" "$work/home-$version"
done
echo "as described"
