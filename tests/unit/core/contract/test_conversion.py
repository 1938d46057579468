"""What a conversion wrote, in words."""

from dr_wandb.core.contract.conversion import Conversion, describe_conversion


def test_conversion_is_described_in_a_line() -> None:
    done = Conversion(name="demo", path="x.jsonl", rows=1_000, bytes=2_500_000, sha256="")
    assert describe_conversion(done) == "x.jsonl has the history of demo: 1,000 rows, 2.5 MB"
