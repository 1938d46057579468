#!/usr/bin/env bash
# What DuckDB, Polars and pandas make of valid JSON lines when they guess types, and that the code
# in docs/guides/load.md, which names them, is right for the same lines:
#   DuckDB guesses from 20,480 rows: a later 0.5 becomes an integer, a later metric is dropped.
#   Polars guesses from 100 rows: a later metric is dropped; NaN as a text makes a metric a text.
#   pandas reads a run id `0012` as 12, and a timestamp as a date or a rounded number.
#   NaN in a Parquet file that pandas wrote is not found by DuckDB.
# Seen with DuckDB 2.0.1 and 1.5.6, Polars 2.1.0 and 1.44.2, pandas 3.1.1 and 2.3.3, and pyarrow
# 26.0.1, on Python 3.11, Linux. Exits with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/readers.py" <<'PYTHON'
import json
import math

import duckdb
import pandas
import polars



def write(rows):
    """Write rows given as metrics, or as whole rows, and return them as they should be read."""
    rows = [
        {"metrics": row, "run_id": "r", "step": step, "timestamp": f"17000000{step % 100:02}.5"}
        if "run_id" not in row
        else row
        for step, row in enumerate(rows)
    ]
    with open("history.jsonl", "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return [
        (row["run_id"], row["step"], row["timestamp"], number(row["metrics"].get("loss")))
        for row in rows
    ]


def number(value):
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def with_duckdb():
    columns = "{run_id: 'VARCHAR', step: 'BIGINT', timestamp: 'VARCHAR', metrics: 'JSON'}"
    rows = duckdb.sql(
        f"from read_json('history.jsonl', format='newline_delimited', columns={columns})"
    )
    loss = """try_cast(metrics->>'$."loss"' as double)"""
    return duckdb.sql(f"select run_id, step, timestamp, {loss} from rows").fetchall()


def with_polars():
    names = ["loss"]
    schema = {
        "run_id": polars.String,
        "step": polars.Int64,
        "timestamp": polars.String,
        "metrics": polars.Struct({name: polars.String for name in names}),
    }
    rows = (
        polars.read_ndjson("history.jsonl", schema=schema)
        .unnest("metrics")
        .with_columns(polars.selectors.by_name(*names).cast(polars.Float64, strict=False))
    )
    return rows.rows()


def with_pandas():
    columns = ["run_id", "step", "timestamp", "metrics"]
    with open("history.jsonl", encoding="utf-8", newline="\n") as lines:
        rows = pandas.DataFrame(map(json.loads, lines), columns=columns, dtype=object)
    rows["step"] = rows["step"].astype("Int64")
    rows["loss"] = pandas.to_numeric(rows["metrics"].str.get("loss"), errors="coerce")
    return [
        (run_id, None if step is pandas.NA else int(step), timestamp, loss)
        for run_id, step, timestamp, _, loss in rows.itertuples(index=False)
    ]


def same(read, meant, nan_for_none):
    if meant is None and not nan_for_none:
        return read is None
    return read != read if meant is None or meant != meant else read == meant


def right(load, rows):
    """Demand that a loader reads each value as it is."""
    meant, read = write(rows), load()
    assert len(read) == len(meant), (load.__name__, len(read), len(meant))
    for one, other in zip(read, meant, strict=True):
        assert one[:3] == other[:3], (load.__name__, one, other)
        assert same(one[3], other[3], load is with_pandas), (load.__name__, one, other)


def refused(read, *words):
    try:
        read()
    except Exception as error:
        assert any(word in str(error) for word in words), str(error)
    else:
        raise AssertionError(f"not refused: {words}")


def query(text):
    return duckdb.sql(text).fetchall()


# --- the documented code

LATE = 30_000
HARD = {
    "case": [{"loss": i * 0.1, "Loss": -i * 0.1} for i in range(100)],
    "late key": [{"other": i, **({"loss": i / 4} if i >= LATE else {})} for i in range(40_000)],
    "late float": [{"loss": i if i < LATE else i + 0.5} for i in range(40_000)],
    "late text": [{"loss": i / 2 if i != LATE else "high"} for i in range(40_000)],
    "late object": [{"loss": i / 2 if i != LATE else {"_type": "x"}} for i in range(40_000)],
    "list": [{"loss": i / 2 if i != 50 else [1, 2]} for i in range(100)],
    "not finite": [{"loss": [1.5, "NaN", "Infinity", "-Infinity"][i % 4]} for i in range(100)],
    "sparse": [
        {"loss": float(i % 11), f"k{i % 300}": i, **({"note": "hi"} if i == 5 else {})}
        for i in range(3000)
    ],
    "integers": [{"loss": 2**n} for n in (1, 53, 63, 64, 70, 100, 126)],
    "floats": [{"loss": x} for x in (0.337640966, 5e-324, 1.7976931348623157e308, 1e23, 1 / 3)],
    "ids": [
        {"metrics": {"loss": 1.5}, "run_id": run_id, "step": step, "timestamp": timestamp}
        for run_id, step, timestamp in (
            ("0012", 0, "1700000000"), ("1e5", 2**53 + 1, "1700000000.1234567"),
            ("true", 2**62 + 1, "0"), ("ä/é", None, None),
        )
    ],
    "texts": [{"loss": 1.5, "t": text} for text in ("a\u2028b\x85", '"', "\x00\t\n", "\\ud800")],
    "none": [],
}
for rows in HARD.values():
    for load in (with_duckdb, with_polars, with_pandas):
        right(load, rows)
write(booleans := [{"loss": i != 0 if i < 3 else 1.5} for i in range(6)])
right(with_duckdb, booleans)
right(with_polars, booleans)
assert [row[3] for row in with_pandas()] == [0.0, 1.0, 1.0, 1.5, 1.5, 1.5]
write([{"loss": 1.5, "n": 2**129}])
refused(with_polars, "InvalidNumber")
assert with_duckdb()[0][3] == with_pandas()[0][3] == 1.5

# --- DuckDB that guesses

FILE = "'history.jsonl'"
write(HARD["late float"])
assert query(f"select metrics.loss from {FILE} where step = {LATE}") == [(LATE,)]
write([{"a": 1, **({"late": 1} if i >= LATE else {})} for i in range(40_000)])
assert query(f"select metrics from {FILE} where step = {LATE}") == [({"a": 1},)]
refused(lambda: query(f"from {FILE}"), "JSON transform error")
write(HARD["sparse"])
assert query(f"select max(metrics.loss) from {FILE}") == [("9.0",)]
write([{"loss": 2**64 + 1}, {"loss": 1}])
assert query(f"select metrics.loss from {FILE}")[0] == (2.0**64,)
write(HARD["case"])
refused(lambda: query(f"from {FILE}"), "Duplicate name")
write(HARD["late object"])
refused(lambda: query(f"from {FILE}"), "JSON transform error")
write([])
refused(lambda: query(f"select run_id from {FILE}"), "not found")

# --- Polars that guesses

write(HARD["late key"])
schema = polars.read_ndjson("history.jsonl")["metrics"].struct.schema
assert [*schema] == ["other"]
everything = {"infer_schema_length": None}
schema = polars.read_ndjson("history.jsonl", **everything)["metrics"].struct.schema
assert sorted(schema) == ["loss", "other"]
write(HARD["not finite"])
schema = polars.read_ndjson("history.jsonl", **everything)["metrics"].struct.schema
assert schema["loss"] == polars.String
write(HARD["list"])
refused(lambda: polars.read_ndjson("history.jsonl", **everything), "supertype")
write(booleans[3:] + booleans[:1])
refused(lambda: polars.read_ndjson("history.jsonl", **everything), "bool")
write([])
refused(lambda: polars.read_ndjson("history.jsonl", **everything), "empty")
write([{"t": "a\tb\n"}])
(text,) = polars.read_ndjson("history.jsonl", schema={"metrics": polars.String})["metrics"]
refused(lambda: json.loads(text), "control character")
(text,) = polars.Series(['{"x":1.4000000000000001}']).str.json_path_match("$.x")
assert text == "1.4"

# --- pandas that guesses


def read_json(**options):
    return pandas.read_json("history.jsonl", lines=True, precise_float=True, **options)


write([{"metrics": {}, "run_id": "0012", "step": 2**53 + 1, "timestamp": "1700000000.1234567"}])
assert read_json()["run_id"][0] == 12
assert read_json()["timestamp"][0] != "1700000000.1234567"
old = {"convert_dates": False} if pandas.__version__.startswith("2.") else {}
kept = read_json(dtype=False, **old)
assert (kept["run_id"][0], kept["timestamp"][0]) == ("0012", "1700000000.1234567")
write(HARD["ids"])
assert read_json(dtype=False)["step"][1] == 2**53
write([{"loss": 2**64}])
refused(read_json, "too big")
write([{"loss": 5e-324}])
refused(read_json, "Range error")

# --- NaN in Parquet

pandas.DataFrame({"loss": [1.5, math.nan, math.inf]}).to_parquet("pandas.parquet")
assert query("select count(*) from 'pandas.parquet' where isnan(loss)") == [(0,)]
assert query("select max(loss) from 'pandas.parquet'") == [(math.inf,)]
duckdb.sql("copy (select unnest(['1.5', 'nan']::double[]) as loss) to 'duckdb.parquet'")
assert query("select count(*) from 'duckdb.parquet' where isnan(loss)") == [(1,)]
print("as described", duckdb.__version__, polars.__version__, pandas.__version__)
PYTHON
for versions in "duckdb==2.0.1 polars==2.1.0 pandas==3.1.1" "duckdb==1.5.6 polars==1.44.2 pandas==2.3.3"; do
  rm -rf "$work/venv"
  python3 -m venv "$work/venv"
  # shellcheck disable=SC2086
  "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check $versions pyarrow==26.0.1
  (cd "$work" && venv/bin/python readers.py)
done
