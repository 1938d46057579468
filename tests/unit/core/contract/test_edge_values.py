"""What becomes of values that W&B and its files hardly ever have."""

from typing import Any

import pytest

from dr_wandb.core.contract.codec import decode_row, raw_row_of
from dr_wandb.core.contract.evidence import nearly_equal
from dr_wandb.core.contract.normalize import normalize_what_reads
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.values import MAX_DEPTH, decode_json, json_safe

MORE_THAN_A_DOUBLE_HOLDS = 10**400


class MakesAnother:
    """Opens into another object of its kind, without end."""

    def tolist(self) -> "MakesAnother":
        return MakesAnother()


class Sealed:
    """Has an attribute that cannot be looked at."""

    def __init__(self) -> None:
        self.size = 4

    def __getattribute__(self, name: str) -> Any:
        if name == "size":
            raise RuntimeError("the device is gone")
        return super().__getattribute__(name)


def nested(innermost: list[Any], levels: int) -> list[Any]:
    """Return a list that many levels inside of others."""
    value = innermost
    for _ in range(levels):
        value = [value]
    return value


# Rows


def test_row_whose_timestamp_is_no_number_has_no_raw_form() -> None:
    assert raw_row_of(HistoryRow(run_id="a", step=1, timestamp="yesterday")) is None
    assert raw_row_of(HistoryRow(run_id="a", step=1, timestamp="1700000000.5")) is not None


def test_key_leads_through_each_object_of_a_value_that_stays_whole() -> None:
    point = {"_type": "point", "at": {"x": {"_type": "mean", "value": 4}}}
    row = HistoryRow(run_id="a", metrics={"where": point, "loss": 1})
    kept = select_row(row, HistorySelection(keys=("where.at.x.value",)))
    assert kept == HistoryRow(run_id="a", metrics={"where.at.x.value": 4})


def test_key_of_what_w_and_b_notes_in_a_row_admits_the_rows_that_have_it() -> None:
    noted = HistoryRow(run_id="a", step=1, wandb_metadata={"sampling.rate": 2})
    selection = HistorySelection(keys=("_wandb.sampling",))
    assert select_row(noted, selection) == noted
    assert select_row(HistoryRow(run_id="a", wandb_metadata={"other": 2}), selection) is None


def test_key_of_all_that_w_and_b_notes_in_a_row_admits_the_rows_that_have_any_of_it() -> None:
    noted = HistoryRow(run_id="a", step=1, wandb_metadata={"sampling.rate": 2})
    selection = HistorySelection(keys=("_wandb",))
    assert select_row(noted, selection) == noted
    assert select_row(HistoryRow(run_id="a", step=1), selection) is None


def test_timestamp_of_an_earlier_row_is_spelled_as_its_number_is_today() -> None:
    for stored, spelled in (("4", "4"), ("4.50", "4.5"), ('"soon"', "soon")):
        line = b'{"extra":{},"metrics":{},"run_id":"a","runtime":null,"timestamp":%s}'
        row = decode_row(line % stored.encode()).unwrap()
        assert row.timestamp == spelled


# Numbers


def test_time_that_no_double_can_hold_is_near_to_no_time() -> None:
    assert not nearly_equal(MORE_THAN_A_DOUBLE_HOLDS, 1700000000.5)


# Runs


def test_error_that_is_in_no_json_text_of_a_run_is_raised() -> None:
    raw_run = {"name": "a", "config": "{}", "displayName": 10**5000}
    with pytest.raises(ValueError, match="digits"):
        normalize_what_reads(raw_run, entity="team", project="project")


# Values


@pytest.mark.parametrize("value", [4, None, ["{}"]])
def test_json_that_is_no_text_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^config is not text$"):
        decode_json(value, "config")


def test_object_that_opens_into_objects_without_end_is_named_by_its_type() -> None:
    assert json_safe(MakesAnother()) == f"<{__name__}.MakesAnother>"


def test_object_that_cannot_be_looked_at_is_named_by_its_type() -> None:
    assert json_safe(Sealed()) == f"<{__name__}.Sealed>"


def test_list_that_contains_itself_below_the_deepest_level_ends_there() -> None:
    innermost: list[Any] = [1]
    innermost.append(innermost)
    value = json_safe(nested(innermost, MAX_DEPTH))
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert value == '[1,"<contains itself>"]'
