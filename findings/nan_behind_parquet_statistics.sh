#!/usr/bin/env bash
# The rows whose loss is NaN cannot be found in a Parquet file that has statistics (DuckDB 2.0.1,
# pyarrow 26.0.1).
#   pyarrow writes the smallest and the largest value of a column of doubles, and leaves NaN out of
#   both, as the format says. Readers take them for bounds of all values:
#   DuckDB   `where isnan(loss)` finds none of two rows, and `where loss > 3` none, although NaN is
#            larger than any number there; `max(loss)` is 3, but NaN beside `avg(loss)`.
#   pyarrow  the filter `is_null(nan_is_null=True)` finds none; `is_nan` finds both.
#   Without statistics on the column, each of these sees both rows.
# "Which runs diverged?" is answered with "none". Hence our files have no statistics on values.
# Seen with duckdb 2.0.1 and pyarrow 26.0.1 on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet duckdb==2.0.1 pyarrow==26.0.1 pytz
cd "$work"
"$work/venv/bin/python" - <<'PY' | tee seen
import math

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

table = pa.table({"step": [0, 1, 2, 3], "loss": [1.0, math.nan, 3.0, math.nan]})
for statistics in (True, ["step"]):
    pq.write_table(table, "rows.parquet", write_statistics=statistics)

    def ask(query):
        return duckdb.sql(query.replace("ROWS", "'rows.parquet'")).fetchall()[0]

    of_duckdb = [
        *ask("select count(*) from ROWS where isnan(loss)"),
        *ask("select count(*) from ROWS where loss > 3"),
        *ask("select max(loss) from ROWS"),
        *ask("select max(loss), avg(loss) from ROWS"),
    ]
    rows, loss = ds.dataset("rows.parquet"), pc.field("loss")
    of_arrow = [
        rows.count_rows(filter=one) for one in (loss.is_null(nan_is_null=True), pc.is_nan(loss))
    ]
    print("loss has statistics" if statistics is True else "it has none", of_duckdb, of_arrow)
PY
diff - seen <<'SEEN'
loss has statistics [0, 0, 3.0, nan, nan] [0, 2]
it has none [2, 2, nan, nan, nan] [2, 2]
SEEN
