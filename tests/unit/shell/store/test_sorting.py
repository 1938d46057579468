import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.shell.store.sorting import RECORD_BYTES, ExternalSorter
from tests.support.strategies import within


class Item(NamedTuple):
    place: int
    content: bytes


def by_place(item: Item) -> Any:
    return (item.place, item.content)


def sorter(folder: Path, limit_bytes: int) -> ExternalSorter[Item]:
    return ExternalSorter(folder, "x", key=by_place, revive=Item._make, limit_bytes=limit_bytes)


@given(
    items=st.lists(st.builds(Item, st.integers(-5, 5) | st.just(2**70), st.binary(max_size=3))),
    limit_bytes=st.sampled_from([1, 500, 1_500, 10**9]),
)
def test_items_come_back_in_order_whatever_fits_into_memory(
    tmp_path_factory: pytest.TempPathFactory, items: list[Item], limit_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("sorting")
    sorting = sorter(folder, limit_bytes)
    for item in items:
        sorting.add(item, len(item.content))
    assert list(sorting) == sorted(items, key=by_place)
    sorting.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("limit_bytes", [1, 2_000, 10**9])
def test_items_are_revived_as_what_they_were(tmp_path: Path, limit_bytes: int) -> None:
    sorting = sorter(tmp_path, limit_bytes)
    for place in range(RECORD_BYTES // 100):
        sorting.add(Item(place, b"x"), 1)
    assert all(type(item) is Item for item in sorting)
    sorting.close()


def test_items_in_order_need_one_spill_file(tmp_path: Path) -> None:
    sorting = sorter(tmp_path, 1_000)
    for place in range(100):
        sorting.add(Item(place, b""), 0)
    assert len(list(tmp_path.iterdir())) == 1
    assert [item.place for item in sorting] == list(range(100))
    sorting.close()


def test_items_out_of_order_are_spilled_into_files_of_their_own(tmp_path: Path) -> None:
    sorting = sorter(tmp_path, 1_000)
    places = list(range(100))
    random.Random(1).shuffle(places)
    for place in places:
        sorting.add(Item(place, b""), 0)
    assert len(list(tmp_path.iterdir())) > 1
    assert [item.place for item in sorting] == sorted(places)
    sorting.close()


def test_closing_in_the_middle_of_reading_leaves_no_file(tmp_path: Path) -> None:
    sorting = sorter(tmp_path, 1)
    for place in (3, 1, 2):
        sorting.add(Item(place, b""), 0)
    assert next(iter(sorting)).place == 1
    sorting.close()
    assert list(tmp_path.iterdir()) == []


def test_many_items_are_sorted_in_a_moment(tmp_path: Path) -> None:
    sorting = sorter(tmp_path, 1 << 20)
    with within(20):
        for place in range(100_000, 0, -1):
            sorting.add(Item(place, b"content"), 7)
        assert sum(1 for _ in sorting) == 100_000
    sorting.close()
