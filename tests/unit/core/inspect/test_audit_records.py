"""Lines of records are checked in parts as they are checked whole."""

import pytest
import xxhash

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.large_member import divide
from dr_wandb.core.contract.manifest_entries import entries_of, manifest_digest
from dr_wandb.core.contract.project_record import Hashes
from dr_wandb.core.inspect.audit_records import UNCHECKED, RecordsAudit
from dr_wandb.core.inspect.verify import Findings, NoteKind

ENTRIES = entries_of({"contents": {f"{one}.txt": {"digest": one} for one in "abc"}})
RIGHT = manifest_digest(ENTRIES, None)
HASHES: Hashes = {"XXH128": xxhash.xxh128}


def line_of(artifact_id: str, digest: str | None, algorithm: str | None = None) -> bytes:
    record = WandbArtifact(
        collection="data",
        artifact_id=artifact_id,
        digest=digest,
        digest_algorithm=algorithm,
        entries=ENTRIES,
    )
    return encode_line(record)


def add_divided(audit: RecordsAudit, line: bytes) -> bool:
    before, content, after = divide(line, WandbArtifact) or (line, b"", b"")
    return audit.add_divided(before + after, [content[:20], content[20:]])


@pytest.mark.parametrize(
    "lines",
    [
        [line_of("x", RIGHT), line_of("y", None), line_of("z", "other", "XXH128")],
        [line_of("z", manifest_digest(ENTRIES, "XXH128", xxhash.xxh128), "XXH128")],
        [line_of("x", "wrong"), line_of("x", RIGHT), line_of("a", RIGHT)],
    ],
)
@pytest.mark.parametrize("hashes", [{}, HASHES])
def test_findings_are_those_of_whole_lines(lines: list[bytes], hashes: Hashes) -> None:
    whole, divided = Findings(), Findings()
    audits = RecordsAudit("artifacts", whole, hashes), RecordsAudit("artifacts", divided, hashes)
    for line in lines:
        audits[0].add(line)
        assert add_divided(audits[1], line)
    assert divided.all() == whole.all()
    assert audits[1].records == audits[0].records


@pytest.mark.parametrize(
    "line",
    [
        line_of("x", RIGHT).replace(b'"metadata":null', b'"metadata": null'),
        line_of("x", RIGHT).replace(b'"artifact_id":"x"', b'"artifact_id":7'),
        line_of("x", RIGHT).replace(b'"digest":"b"', b'"digest":"\\u0062"'),
        line_of("z", "other", "XXH128").replace(b'"digest":"b"', b'"digest": "b"'),
        line_of("z", "other", "XXH128").replace(b'"digest":"b"', b'"digest":7'),
    ],
)
def test_line_of_another_form_has_to_be_given_whole(line: bytes) -> None:
    findings = Findings()
    audit = RecordsAudit("artifacts", findings)
    assert not add_divided(audit, line)
    assert (findings.all(), audit.records) == ((), {})


def test_digest_of_another_hash_is_compared_if_that_is_there() -> None:
    """Whatever stood in the entries of such a version, `verify` found nothing."""
    right = manifest_digest(ENTRIES, "XXH128", xxhash.xxh128)
    lines = [line_of("x", right, "XXH128"), line_of("y", "0" * 32, "XXH128"), line_of("z", RIGHT)]
    for hashes in ({}, HASHES):
        findings = Findings()
        audit = RecordsAudit("artifacts", findings, hashes)
        for line in lines:
            assert add_divided(audit, line)
        audit.finish()
        wrong = [one for one in findings.all() if "do not have the digest" in one.problem]
        notes = [(one.kind, one.text) for one in findings.notes]
        assert len(wrong) == len(hashes)
        assert notes == (
            [] if hashes else [(NoteKind.UNCHECKED, f"the entries of 2 versions {UNCHECKED}")]
        )
