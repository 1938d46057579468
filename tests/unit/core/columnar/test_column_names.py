"""The names of metrics' columns."""

import pytest

from dr_wandb.core.columnar.column_names import column_name, folding_names


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("loss", "loss"),
        ("Loss", "Loss"),
        ("", ""),
        ('train."x" y', 'train."x" y'),
        ("step", "step (metric)"),
        ("run_id", "run_id (metric)"),
        ("timestamp (metric)", "timestamp (metric) (metric)"),
        ("Step", "Step"),
        ("steps", "steps"),
    ],
)
def test_metric_has_its_own_name_in_a_frame(key: str, name: str) -> None:
    assert column_name(key) == name


def test_names_that_differ_in_case_have_digits() -> None:
    names = folding_names(["loss", "Loss", "acc"])
    assert names["acc"] == "acc"
    assert names["loss"].startswith("loss (")
    assert names["Loss"].startswith("Loss (")
    assert names["loss"][6:] != names["Loss"][6:]
    assert folding_names(["loss"]) == {"loss": "loss"}


def test_name_of_a_fixed_column_is_never_that_of_a_metric() -> None:
    assert folding_names(["step"]) == {"step": "step (metric)"}
    assert folding_names(["Run_ID"]) == {"Run_ID": "Run_ID (metric)"}
    both = folding_names(["step", "Step"])
    assert both["step"].startswith("step (metric) (")
    assert len({name.lower() for name in both.values()}) == 2


def test_name_that_no_reader_shows_is_shortened() -> None:
    names = folding_names(["", "a\nb", "x" * 300])
    assert names[""] == " (e3b0c442)"
    assert names["a\nb"].startswith("a\\nb (")
    assert len(names["x" * 300]) == 211
    assert all(name.isprintable() for name in names.values())


def test_metric_that_is_named_like_the_name_of_another_one_keeps_its_own() -> None:
    made = folding_names(["loss", "Loss"])["loss"]
    names = folding_names(["loss", "Loss", made])
    assert names[made] == made
    assert names["loss"] != made
    assert len({name.lower() for name in names.values()}) == 3
