"""Lines are divided at their large member, and it is decoded in pieces."""

import pytest

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.large_member import (
    borders_of,
    decode_content,
    divide,
    encode_content,
    large_of,
    with_large,
)
from dr_wandb.core.contract.manifest_entries import ArtifactEntry
from dr_wandb.core.contract.project_records import WandbSweep

TRICKY = ',"entries":[ ],"file_count":'
ENTRIES = (
    ArtifactEntry(path=TRICKY, digest="1", algorithm="MD5"),
    ArtifactEntry(path='},{"algorithm":', digest="2"),
    ArtifactEntry(path="c", digest="3", reference=TRICKY),
)


def artifact(entries: tuple[ArtifactEntry, ...] | None) -> WandbArtifact:
    return WandbArtifact(
        collection=TRICKY,
        artifact_id="x",
        aliases=(TRICKY,),
        description=TRICKY,
        metadata={"a": {"b": 1, "entries": [1, 2], "file_count": TRICKY}},
        entries=entries,
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_line_is_divided_around_its_content(count: int) -> None:
    line = encode_line(artifact(ENTRIES[:count]))
    divided = divide(line, WandbArtifact)
    assert divided is not None
    before, content, after = divided
    assert before + content + after == line
    assert content == encode_content(ENTRIES[:count])
    assert before + after == encode_line(artifact(()))


def test_line_without_content_is_not_divided() -> None:
    assert divide(encode_line(artifact(None)), WandbArtifact) is None
    assert divide(b',"entries":[{"algorithm"', WandbArtifact) is None
    sweep = WandbSweep(sweep_id="s")
    assert divide(encode_line(sweep), WandbSweep) is None
    assert borders_of(WandbSweep) is None
    assert large_of(sweep) is None


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_content_is_decoded_in_pieces(size: int) -> None:
    content = encode_content(ENTRIES)
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    pieces = list(decode_content(chunks, WandbArtifact))
    assert [one for piece in pieces for one in piece.records] == [*ENTRIES]
    assert b",".join(piece.text for piece in pieces) == content
    assert all(piece.canonical for piece in pieces)
    assert len(pieces) > 1
    assert list(decode_content([], WandbArtifact)) == []


def test_content_that_is_spelled_otherwise_is_told_apart() -> None:
    (piece,) = decode_content([b'{"path": "a", "digest": "1"}'], WandbArtifact)
    assert not piece.canonical
    with pytest.raises(ValueError, match="truncated"):
        list(decode_content([b'{"path": "a'], WandbArtifact))


def test_large_member_is_put_in_its_place() -> None:
    record = artifact(())
    assert large_of(record) == ()
    assert large_of(artifact(None)) is None
    assert with_large(record, [*ENTRIES]) == artifact(ENTRIES)


def test_null_is_not_mistaken_for_a_list_further_down() -> None:
    """Metadata may have members of the same names, and a version may have no entries."""
    line = encode_line(artifact(None))
    assert b',"entries":[1,2],"file_count":' in line
    assert divide(line, WandbArtifact) is None
