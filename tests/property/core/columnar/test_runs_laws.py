"""Laws of the columns of runs: they depend on the runs alone, and no value changes in them."""

import json
from collections import Counter
from itertools import pairwise
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.columnar import key_counts
from dr_wandb.core.columnar.runs import ColumnType, KeyColumn
from dr_wandb.core.contract.records import RunSnapshot
from tests.support.run_columns import columns_of, row_of, runs_of, scalars_of
from tests.support.snapshots import any_snapshots

Snapshots = list[RunSnapshot]
some_snapshots = st.lists(any_snapshots, max_size=5)


def given_back(value: object, column: KeyColumn) -> object:
    """Return the JSON-safe value that a value of a column stands for."""
    if column.column.type == ColumnType.JSON:
        return json.loads(str(value))
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


@given(some_snapshots, st.randoms())
def test_columns_do_not_depend_on_the_order_of_runs(snapshots: Snapshots, random: object) -> None:
    shuffled = [*snapshots]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert columns_of(shuffled) == columns_of(snapshots)


@given(some_snapshots)
def test_columns_have_the_values_of_each_run(snapshots: Snapshots) -> None:
    columns = columns_of(snapshots)
    rows = [row_of(one, columns) for one in snapshots]
    found = columns.values(runs_of(snapshots))
    for column, (at, values) in zip(columns.all, found, strict=True):
        expected = [row[column.name] for row in rows]
        held = dict(zip(at.tolist(), values, strict=True))
        ours = [held.get(index) for index in range(len(rows))]
        if column.type == ColumnType.JSON:
            ours = [one and one.decode() for one in ours]
        elif column.type == ColumnType.DOUBLE:
            ours = [None if one is None else float(one) for one in ours]
        assert repr(ours) == repr(expected), column


@given(some_snapshots)
def test_every_column_gives_the_values_of_its_key_back(snapshots: Snapshots) -> None:
    columns = columns_of(snapshots)
    for one in snapshots:
        row = row_of(one, columns)
        for column in (*columns.config, *columns.summary):
            in_config = column in columns.config
            scalars = scalars_of(one.run.config if in_config else one.run.summary_metrics)
            value = row[column.column.name]
            if value is None:
                assert column.key not in scalars
            else:
                back = given_back(value, column)
                assert back == scalars[column.key]
                assert isinstance(back, bool) == isinstance(scalars[column.key], bool)


@given(some_snapshots)
def test_no_two_columns_differ_in_case_only(snapshots: Snapshots) -> None:
    names = sorted(one.name for one in columns_of(snapshots).all)
    for fold in (str.lower, str.upper, str.casefold):
        assert all(one != other for one, other in pairwise(sorted(map(fold, names))))


@given(some_snapshots, st.integers(1, 4), st.integers(0, 6), st.integers(1, 5), st.randoms())
def test_keys_that_are_forgotten_are_those_of_too_few_runs(
    snapshots: Snapshots, runs_per_key: int, most: int, at_a_time: int, random: object
) -> None:
    shuffled = [*snapshots]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    with (
        patch.object(key_counts, "RUNS_PER_KEY", runs_per_key),
        patch.object(key_counts, "MOST_COUNTED", most),
    ):
        found = columns_of(shuffled)
        assert found == columns_of(snapshots, at_a_time)
    for part, columns in (("config", found.config), ("summary_metrics", found.summary)):
        keys = [key for one in snapshots for key in scalars_of(getattr(one.run, part))]
        counts = Counter(keys)
        if len(counts) > most:
            counts = Counter(
                {key: n for key, n in counts.items() if n * runs_per_key >= len(snapshots)}
            )
        assert {one.key for one in columns} <= counts.keys()
        alike = Counter(key.upper().casefold() for key in counts)
        plain = {key for key in counts if alike[key.upper().casefold()] == 1 and key.isprintable()}
        assert plain <= {one.key for one in columns}
