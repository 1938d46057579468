"""Each law holds for a few records, looked at one by one, and for many at once."""

from collections.abc import Iterator

import pytest

from dr_wandb.core.offline import few


@pytest.fixture(autouse=True, scope="module", params=[0, few.FEW], ids=["many", "few"])
def offline_records_are_many_or_few(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no number of records be few, or as many as usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few, "FEW", request.param)
        yield
