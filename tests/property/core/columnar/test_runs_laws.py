"""Laws of the columns of runs: they depend on the runs alone, and no value changes in them."""

import json
from collections import Counter
from itertools import pairwise
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.columnar import key_counts, runs
from dr_wandb.core.columnar.key_counts import scalars_of
from dr_wandb.core.columnar.runs import (
    ColumnType,
    KeyColumn,
    KeySurvey,
    RunColumns,
)
from dr_wandb.core.contract.records import RunSnapshot
from tests.support.snapshots import any_snapshots

Snapshots = list[RunSnapshot]
some_snapshots = st.lists(any_snapshots, max_size=5)


def columns_of(snapshots: Snapshots) -> RunColumns:
    survey = KeySurvey()
    for snapshot in snapshots:
        survey.add(snapshot)
    return survey.columns()


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
def test_every_column_gives_the_values_of_its_key_back(snapshots: Snapshots) -> None:
    columns = columns_of(snapshots)
    fixed = len(runs.FIXED)
    for one in snapshots:
        values = columns.values(one)
        assert len(values) == len(columns.all)
        found = [scalars_of(one.run.config)] * len(columns.config)
        found += [scalars_of(one.run.summary_metrics)] * len(columns.summary)
        of_keys = (*columns.config, *columns.summary)
        for value, column, scalars in zip(values[fixed:], of_keys, found, strict=True):
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


@given(some_snapshots)
def test_texts_of_objects_read_back_as_they_were(snapshots: Snapshots) -> None:
    columns = columns_of(snapshots)
    names = [one.name for one in columns.all]
    for one in snapshots:
        row = dict(zip(names, columns.values(one), strict=True))
        assert json.loads(row["config"]) == one.run.config
        assert json.loads(row["summary"]) == one.run.summary_metrics
        assert json.loads(row["history_keys"] or "null") == one.run.history_keys


@given(some_snapshots, st.integers(1, 4), st.integers(0, 6), st.randoms())
def test_keys_that_are_forgotten_are_those_of_too_few_runs(
    snapshots: Snapshots, runs_per_key: int, most: int, random: object
) -> None:
    shuffled = [*snapshots]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    with (
        patch.object(key_counts, "RUNS_PER_KEY", runs_per_key),
        patch.object(key_counts, "MOST_COUNTED", most),
    ):
        found = exact_columns_of(shuffled)
        assert found == exact_columns_of(snapshots)
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


def exact_columns_of(snapshots: Snapshots) -> RunColumns:
    survey: KeySurvey | None = KeySurvey()
    columns = RunColumns()
    while survey is not None:
        for snapshot in snapshots:
            survey.add(snapshot)
        columns, survey = survey.columns(), survey.again()
    return columns
