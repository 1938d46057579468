"""A digest of the contents of a pack."""

from dr_wandb.core.columnar.digest import pack_digest


def test_contents_of_a_pack_are_its_runs_and_their_lines() -> None:
    one = pack_digest([("a", "00"), ("b", "11")])
    assert one == pack_digest(iter([("a", "00"), ("b", "11")]))
    assert one == ("3ae2aa926b2465633ebd7816786a105d226da134164c90822c1f617b10fedffa")
    others: list[list[tuple[str, str]]] = [
        [("a", "00")],
        [("b", "00"), ("a", "11")],
        [("a0", "0"), ("b", "11")],
        [],
    ]
    assert len({one, *map(pack_digest, others)}) == 5
