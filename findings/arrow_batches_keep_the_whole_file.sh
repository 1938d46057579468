#!/usr/bin/env bash
# A Parquet file that is read in batches stays in memory as a whole (pyarrow 26.0.1).
#   pyarrow.parquet.ParquetFile(path).iter_batches() is the way to read a file that is larger than
#   memory. Its default pre_buffer=True keeps the bytes of all row groups that were read until the
#   file is closed: a file of 24 groups of 8 MB takes about 200 MB, whatever the batch size is.
#   With pre_buffer=False it takes a group or two.
# A sync that reads one exported history after another needed as much memory as its largest file.
# Seen with pyarrow 26.0.1 and numpy 2.4.6 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet pyarrow==26.0.1 numpy==2.4.6
"$work/venv/bin/python" - "$work/file" <<'PY'
import sys
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

schema = pa.schema([("value", pa.float64())])
random = np.random.default_rng(1)
with pq.ParquetWriter(sys.argv[1], schema, use_dictionary=False) as writer:
    for _ in range(24):
        writer.write_table(pa.table({"value": random.random(1_000_000)}, schema=schema))
PY
megabytes() { # more than after the imports, at the peak
  "$work/venv/bin/python" - "$work/file" "$1" <<'PY'
import resource
import sys
import pyarrow.parquet as pq

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000

before = peak()
options = {} if sys.argv[2] == "default" else {"pre_buffer": False}
with pq.ParquetFile(sys.argv[1], **options) as file:
    for batch in file.iter_batches(batch_size=10_000, use_threads=False):
        del batch
print(peak() - before)
PY
}
by_default=$(megabytes default)
without=$(megabytes without)
echo "192 MB of doubles, 10,000 at a time: $by_default MB by default, $without MB with pre_buffer=False"
test "$by_default" -gt 150
test "$without" -lt 60
