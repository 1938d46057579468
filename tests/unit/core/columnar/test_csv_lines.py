"""Cells of CSV."""

import csv
import io
import math
import re

import pytest
from hypothesis import given

from dr_wandb.core.columnar.csv_lines import (
    cell_of_text,
    cells_of_doubles,
    cells_of_others,
    cells_of_texts,
    lines_of_columns,
)
from tests.support.strategies import clean_texts


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a,b", '"a,b"'),
        ('say "x"', '"say ""x"""'),
        ("two\nlines", '"two\nlines"'),
        (" x ", '" x "'),
        ("=1+1", "'=1+1"),
        ("+cmd|x", "'+cmd|x"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("=A1,2", '"\'=A1,2"'),
        ("'=1", "''=1"),
        ("'tis", "'tis"),
        ("-1.5", "-1.5"),
        ("+3e-7", "+3e-7"),
        ("-Infinity", "-Infinity"),
        ("0012", "0012"),
        ("-", "'-"),
    ],
)
def test_text_is_quoted_if_a_spreadsheet_or_a_reader_would_change_it(text: str, cell: str) -> None:
    assert cell_of_text(text) == cell


@given(clean_texts)
def test_texts_come_back(text: str) -> None:
    [[cell]] = csv.reader(io.StringIO(cell_of_text(text) + "\r\n", newline=""))
    if re.match(r"'+[=+\-@\t\r]", cell):
        cell = cell[1:]
    assert cell == text


def test_numbers_are_spelled_as_in_an_export() -> None:
    values = [1.0, None, 0.5, math.nan, math.inf, -math.inf, 1e300, -1e-7]
    cells = ["1", "", "0.5", "NaN", "Infinity", "-Infinity", "1e300", "-1e-7"]
    assert cells_of_doubles(values) == cells
    assert cells_of_doubles([]) == []


def test_missing_values_are_nothing() -> None:
    assert cells_of_texts([None, "", "a"]) == ["", '""', "a"]
    assert cells_of_others([None, 2**63 - 1, True, ["a", "b"], -5]) == [
        "", "9223372036854775807", "true", '"[""a"",""b""]"', "-5",
    ]  # fmt: skip
    assert lines_of_columns([["a", "b"], ["c", "d"]]) == "a,c\nb,d\n"
