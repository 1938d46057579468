#!/usr/bin/env bash
# `pytest --snapshot-update` deletes snapshots of a test that fails before it comes to them
# (syrupy 7.0.2).
#   A test has two snapshots. It raises an error between the two, for whatever reason: a full disk,
#   a server that did not start. Run with --snapshot-update, the test is reported as failed, and its
#   second snapshot is deleted as "unused". A snapshot of another test in the file stays.
# So an update that was meant for another test removed what a failing one is compared with; the next
# update takes whatever that test gives then. Look at what `git diff` says is gone after an update.
# Seen with syrupy 7.0.2, pytest 9.2.0 on Python 3.11. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet syrupy==7.0.2 pytest==9.2.0
cat >"$work/test_two.py" <<'PY'
import os


def test_two(snapshot):
    assert "first" == snapshot
    if os.environ.get("BROKEN"):
        raise OSError("the disk is full")
    assert "second" == snapshot


def test_other(snapshot):
    assert "other" == snapshot
PY
cd "$work"
run() { venv/bin/python -m pytest -q -p no:cacheprovider --snapshot-update test_two.py || true; }
held() { grep -c '^# name: ' __snapshots__/test_two.ambr; }
run >/dev/null
before=$(held)
BROKEN=1 run | grep -E '^(Deleted|FAILED)'
after=$(held)
echo "snapshots: $before, after an update in which one test failed: $after"
test "$before" -eq 3
test "$after" -eq 2
