#!/usr/bin/env bash
# What `import wandb` alone leaves in the folder for temporary files (wandb 0.31.0): it makes two
# folders there, tmp*wandb-artifacts and tmp*wandb-media, before anything is asked of it.
#   A process that ends by itself removes them.
#   A process that is ended by SIGTERM, as schedulers do, or by os._exit, leaves both.
# They are empty and small, but a cron job or a worker that imports wandb and is ended leaves two
# each time, and nothing removes them. Seen by a test that a short command leaves nothing behind.
# Seen with wandb 0.31.0 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet wandb==0.31.0
ends() { # name, source, the number of folders that stay
  mkdir "$work/$1" "$work/$1-home"
  env -i PATH="$PATH" HOME="$work/$1-home" TMPDIR="$work/$1" WANDB_ERROR_REPORTING=false \
    "$work/venv/bin/python" -c "$2" || true
  stay=$(find "$work/$1" -maxdepth 1 -name 'tmp*wandb-*' | wc -l)
  echo "$1: $stay folders stay"
  test "$stay" = "$3"
}
ends by_itself 'import wandb' 0
ends by_exit 'import os, wandb; os._exit(0)' 2
ends by_sigterm 'import os, signal, wandb; os.kill(os.getpid(), signal.SIGTERM)' 2
