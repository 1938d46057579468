"""The type of a metric's column."""

import math
from typing import Any

import numpy as np
import pytest

from dr_wandb.core.columnar.metric_types import ANY_TYPE, type_of, types_of
from dr_wandb.core.columnar.values_as_cells import cells_of_values


def type_of_values(values: list[Any]) -> str:
    return type_of(types_of(cells_of_values(np.arange(len(values)), values)))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "double"),
        ([1, -2], "integer"),
        ([2**53, 2**63 - 1, -(2**63)], "integer"),
        ([1, 2**63], "double"),
        ([2**63 + 1], "json"),
        ([1, 0.5], "double"),
        ([0.5, 2**60], "double"),
        ([0.5, 2**53 + 1], "json"),
        ([1e300, 1], "double"),
        ([10**400], "json"),
        ([math.nan], "double"),
        ([math.nan, 1], "double"),
        ([math.inf, 2**53 + 1], "json"),
        ([True, False], "bool"),
        ([True, 1], "json"),
        (["a", "1"], "text"),
        (["a", "NaN"], "text"),
        (["a", 1], "json"),
        ([[1]], "json"),
        ([{"a": 1}, 0.5], "json"),
        ([0.5] * 100 + [2**53 + 1], "json"),
        ([1] * 100 + [0.5], "double"),
        ([1] * 100 + [math.nan], "double"),
    ],
)
def test_type_is_the_first_that_holds_all_values(values: list[Any], kind: str) -> None:
    assert type_of_values(values) == kind
    assert type_of_values(values[::-1]) == kind


def test_types_of_parts_are_those_of_all() -> None:
    values = [1, 0.5, math.nan, 2**53]
    left = ANY_TYPE
    for value in values:
        left &= types_of(cells_of_values(np.arange(1), [value]))
    assert left == types_of(cells_of_values(np.arange(4), values))
