#!/usr/bin/env bash
# fastparquet reads lists of text as null where their column has no dictionary (2026.9.0).
#   pyarrow 26.0.1 writes such a column with a dictionary until that holds about a megabyte, and
#   the rest without one. Nothing was set for this file but its name.
#   fastparquet  gives the lists of the first part, and None for each row of the rest: 32,134 of
#                40,000 rows here. There is no error and no warning. If no value is in a dictionary,
#                each row is None. Lists of numbers and plain texts are read.
#   pyarrow      gives every list.
# So a column of tags or captions loses most of its rows, and looks as if they had none.
# With another valid file it ended its process (segmentation fault); that is not shown here.
# Seen with fastparquet 2026.9.0 and pandas 3.1.1 on Python 3.11, Linux. Exits with 1 if that
# changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet fastparquet==2026.9.0 pandas==3.1.1 pyarrow==26.0.1
cd "$work"
"$work/venv/bin/python" - <<'PY' | tee seen
from collections import Counter

import fastparquet
import pyarrow as pa
import pyarrow.parquet as pq


def compare(name, lists, kind, **options):
    """Count the rows that come back as they were, as None, and as something else."""
    pq.write_table(pa.table({"tags": pa.array(lists, pa.list_(kind))}), "rows.parquet", **options)
    found = fastparquet.ParquetFile("rows.parquet").to_pandas()["tags"]
    assert pq.read_table("rows.parquet")["tags"].to_pylist() == lists
    counts = Counter(
        "none" if one is None else "same" if list(one) == was else "other"
        for one, was in zip(found, lists)
    )
    print(f"{name}: {dict(sorted(counts.items()))}")


texts = [
    [f"a caption of image {row}, number {n} of three" for n in range(3)] for row in range(40_000)
]
few = [["base", "v1"], ["v1"], ["v2", "base"]]
compare("texts, as pyarrow writes them", texts, pa.string())
compare("few texts", few, pa.string())
compare("few texts, no dictionary", few, pa.string(), use_dictionary=False)
compare("numbers, no dictionary", [[1.5, 2.5], [3.5]], pa.float64(), use_dictionary=False)
PY
diff - seen <<'SEEN'
texts, as pyarrow writes them: {'none': 32134, 'same': 7866}
few texts: {'same': 3}
few texts, no dictionary: {'none': 3}
numbers, no dictionary: {'same': 2}
SEEN
