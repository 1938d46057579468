#!/usr/bin/env bash
# With WANDB_HTTP_PROXY the SDK asks the proxy for hosts in NO_PROXY too (wandb 0.31.0).
#   HTTP_PROXY does not hold for a host that NO_PROXY names. WANDB_HTTP_PROXY, or the setting
#   `http_proxy`, does: wandb-core sends all requests of the scheme to that proxy, whatever NO_PROXY
#   says. So a server inside the own network is asked for outside of it.
# A tool that downloads beside the SDK has to do the same, or its files fail although the rest came.
# Seen with wandb 0.31.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet wandb==0.31.0
export HOME="$work" WANDB_CACHE_DIR="$work" WANDB_ERROR_REPORTING=false WANDB_SILENT=true
export WANDB_API_KEY=0000000000000000000000000000000000000000
export WANDB_BASE_URL=http://wandb.invalid NO_PROXY=wandb.invalid
asked() { # how often a proxy is asked that a variable names
  timeout 120 "$work/venv/bin/python" - "$1" <<'PY'
import contextlib
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

found = []

class Proxy(BaseHTTPRequestHandler):
    def do_POST(self):
        found.append(self.path)
        self.send_error(404)

    def log_message(self, *arguments):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ[sys.argv[1]] = f"http://127.0.0.1:{server.server_port}"
import wandb

with contextlib.suppress(Exception):
    print(wandb.Api(timeout=3).viewer, file=sys.stderr)
print(len(found))
PY
}
own=$(asked WANDB_HTTP_PROXY)
usual=$(asked HTTP_PROXY)
echo "requests to the proxy: $own with WANDB_HTTP_PROXY, $usual with HTTP_PROXY"
test "$own" -gt 0
test "$usual" -eq 0
