"""The queries of DuckDB that make wide rows of the Parquet files of the history.

Rules
- A number is spelled as docs/format.md says, and text in JSON too. DuckDB spells some otherwise.
- Names and texts of others are never read as SQL.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dr_wandb.core.columnar.runs import ColumnType

_SHORT = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r"}

_PLAIN = "cast(value as varchar)"

_NUMBER = f"""case
    when isnan(value) then '"NaN"'
    when isinf(value) then case when value > 0 then '"Infinity"' else '"-Infinity"' end
    when value = trunc(value) and abs(value) < 9007199254740992
        then cast(cast(value as bigint) as varchar)
    when abs(value) >= 1e-4 and abs(value) < 1e16 then {_PLAIN}
    when abs(value) >= 1e-5 and abs(value) < 1e-4
        then case when value < 0 then '-' else '' end || '0.0000'
            || replace(split_part(ltrim({_PLAIN}, '-'), 'e', 1), '.', '')
    else replace(regexp_replace({_PLAIN}, 'e([+-])0+', 'e\\1'), 'e+', 'e') end"""


def _json_of_text() -> str:
    escaped = "replace(replace(text, '\\', '\\\\'), '\"', '\\\"')"
    for code in range(32):
        short = _SHORT.get(code, f"u{code:04x}")
        escaped = f"replace({escaped}, chr({code}), '\\{short}')"
    return f"'\"' || {escaped} || '\"'"


_VALUES = {
    ColumnType.BOOL: "value = 1",
    ColumnType.INTEGER: "coalesce(try_cast(text as bigint), try_cast(value as bigint))",
    ColumnType.DOUBLE: "value",
    ColumnType.TEXT: f"case kind when 'text' then text else trim({_NUMBER}, '\"') end",
    ColumnType.JSON: f"""case kind when 'json' then text when 'text' then {_json_of_text()}
    when 'bool' then case when value = 1 then 'true' else 'false' end
    else coalesce(text, {_NUMBER}) end""",
}
"""The value of a cell in a column of each type."""


def files_in(paths: Iterable[Path]) -> str:
    """Return what reads these files, whatever signs are in their names."""
    return f"read_parquet([{', '.join(text(_literal_path(path)) for path in paths)}])"


def _literal_path(path: Path) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path))


def wide_query(
    source: str, types: Mapping[str, ColumnType], names: Mapping[str, str], *, every_row: bool
) -> str:
    """Return a query for wide rows. names: those of the columns of the metrics.

    All cells of a row have its step and timestamp. They are grouped by, so that DuckDB applies a
    filter on them before it groups.
    """
    columns = [
        f"any_value({_VALUES[kind]}) filter (where key = {text(key)}) as {name(names[key])}"
        for key, kind in types.items()
    ]
    fixed = ["run_id", "step", '"timestamp"']
    wanted = f"where key in ({', '.join(map(text, types))})" if types else "where false"
    return (
        f"select {', '.join([*fixed, *columns])} from {source}"
        f' {"" if every_row else wanted} group by run_id, row, step, "timestamp"'
    )


def long_query(source: str) -> str:
    """Return a query for a line for each value."""
    columns = 'run_id, row, step, "timestamp", key, kind, value, text'
    return f"select {columns} from {source} where kind <> 'row'"


def text(value: str) -> str:
    """Return a text as SQL."""
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return f"decode(from_hex('{value.encode().hex()}'))"


def name(value: str) -> str:
    """Return the name of a column as SQL."""
    return '"' + value.replace('"', '""') + '"'
