"""Each class of a message is made once in a process, by whichever test comes first."""

from collections.abc import Callable
from typing import Any

import pytest

from dr_wandb.core.offline import schema


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (schema.record_class, "Record"),
        (schema.artifact_class, "ArtifactRecord"),
        (schema.files_class, "FilesRecord"),
        (schema.nothing_class, "Nothing"),
    ],
)
def test_classes_are_those_of_their_messages(make: Callable[[], Any], name: str) -> None:
    again: Callable[[], Any] = make.__wrapped__  # type: ignore[attr-defined]
    assert again().DESCRIPTOR.name == name
    assert make() is make()
