#!/usr/bin/env bash
# What pandas and Polars make of a table of Arrow with NaN, nulls, and unusual names of columns:
#   pandas 3.1.1: arithmetic on a column of Arrow makes a missing value of NaN (pandas 2.2.0 does
#   not). The option `future.distinguish_nan_and_na` keeps it.
#   Polars 2.1.0: a column without a name gets one; two names that are equal up to a NUL are refused.
# Seen with pandas 3.1.1, Polars 2.1.0 and pyarrow 26.0.1, on Python 3.11, Linux. Exits with 1 if
# that changes: then `as_frame` need not rename, and docs/guides/load.md is out of date.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/frames.py" <<'PYTHON'
import math

import pandas
import polars
import pyarrow

table = pyarrow.table({"loss": [1.0, math.nan, None]})
loss = table.to_pandas(types_mapper=pandas.ArrowDtype)["loss"]
print("pandas", pandas.__version__)
print("as loaded:", loss.tolist())
print("loss * 2: ", (loss * 2).tolist())
assert loss.isna().tolist() == [False, False, True], "NaN is missing once it is loaded"
assert (loss * 2).isna().tolist() == [False, True, True], "arithmetic keeps NaN"
pandas.set_option("future.distinguish_nan_and_na", True)
assert (loss * 2).isna().tolist() == [False, False, True], "the option has no effect"

print("polars", polars.__version__)
names = polars.from_arrow(pyarrow.table([[1]], names=[""])).columns
print("without a name:", names)
assert names == ["column_0"], names
try:
    polars.from_arrow(pyarrow.table([[1], [2]], names=["x\0a", "x\0b"]))
except polars.exceptions.DuplicateError as error:
    print("with NUL:", error)
else:
    raise AssertionError("names with NUL are taken")
PYTHON
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1
"$work/venv/bin/python" "$work/frames.py"
