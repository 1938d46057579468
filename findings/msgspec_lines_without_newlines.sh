#!/usr/bin/env bash
# msgspec's `decode_lines` does not look at the ends of lines (msgspec 0.23.0).
#   Two objects on one line, with a space or nothing between them, are two records. One object over
#   two lines is one record. Only what is no JSON at all is an error.
# So a file from which a line end is missing, as when a writer was killed and another one went on,
# reads without an error, and its records are not its lines: numbers of lines and byte ranges that
# are counted by line ends do not fit. Who needs lines has to compare, as by encoding once more.
# Seen with msgspec 0.23.0 on Python 3.11. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet msgspec==0.23.0
cat >"$work/lines.py" <<'PY'
import msgspec

decoder = msgspec.json.Decoder()
for what, lines in (
    ("a line end is missing", b'{"row":1}{"row":2}\n'),
    ("a line is divided", b'{"row":\n1}\n'),
):
    records = decoder.decode_lines(lines)
    print(f"{what}: {len(lines.splitlines())} lines, {len(records)} records")
PY
found=$("$work/venv/bin/python" "$work/lines.py")
echo "$found"
test "$found" = "a line end is missing: 1 lines, 2 records
a line is divided: 2 lines, 1 records"
