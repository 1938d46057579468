"""Whether the files of an export agree with each other.

Rules
- The manifest must say what the data files are; the state, what each run's part of them is.
- A position that was reached with every row must be the one that the stored rows give.
- An export of dr-wandb 3.0.3 has neither digests nor positions: only its counts are compared.
"""

from collections.abc import Iterator, Mapping

from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    HISTORY_FILE,
    MANIFEST_FILE,
    RUNS_FILE,
    STATE_FILE,
    file_order,
)
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import FIRST_OF_OURS
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.inspect.verify import FindingKind, Findings

Seen = Mapping[str, DataFile | None]
"""What the data files are, by name; None for one that is not there. One that cannot be read is
absent."""


def check_documents(findings: Findings, manifest: ExportManifest, state: ExportState) -> None:
    """Compare the manifest with the state."""
    versions = manifest.schema_version, state.schema_version
    if versions[0] != versions[1]:
        kind, older = FindingKind.MANIFEST, MANIFEST_FILE
        if versions[1] < versions[0]:
            kind, older = FindingKind.STATE, STATE_FILE
        problem = f"schema_version is {min(versions)}, but {max(versions)} in the other document"
        findings.add(kind, older, problem)
    said: list[tuple[str, object, object]] = [
        ("entity", manifest.entity, state.entity),
        ("project", manifest.project, state.project),
        ("name", manifest.name, state.name),
    ]
    if _ours(manifest):
        missing = _marked(state, "missing_since")
        outside = _marked(state, "out_of_scope_since")
        said += [
            ("scope", manifest.scope, state.scope),
            ("missing_runs", manifest.missing_runs, missing),
            ("out_of_scope_runs", manifest.out_of_scope_runs, outside),
        ]
    for field, here, there in said:
        if here != there:
            kind = FindingKind.MANIFEST
            if field in ("entity", "project"):
                kind = FindingKind.STRANGER
            problem = f"{field} is {_short(here)}, but {_short(there)} in {STATE_FILE}"
            findings.add(kind, MANIFEST_FILE, problem)


def _ours(manifest: ExportManifest) -> bool:
    return manifest.schema_version >= FIRST_OF_OURS


def _marked(state: ExportState, mark: str) -> dict[str, str]:
    return {run_id: getattr(run, mark) for run_id, run in state.runs.items() if getattr(run, mark)}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_manifest(
    findings: Findings, manifest: ExportManifest, state: ExportState | None, seen: Seen
) -> None:
    """Compare what the manifest says of the data files with what they are.

    A file that the state knows as it is was not damaged: then the manifest is wrong.
    """
    expected = {RUNS_FILE} | ({HISTORY_FILE} if manifest.history_path is not None else set())
    if _ours(manifest):
        expected |= manifest.files.keys()
        for problem in _contradictions(manifest):
            findings.add(FindingKind.MANIFEST, MANIFEST_FILE, problem)
    for name, file in seen.items():
        if file is None:
            if name in expected:
                findings.add(FindingKind.MISSING, name, "is missing")
        elif name not in expected:
            if name != CHANGES_FILE or _ours(manifest):
                findings.add(FindingKind.MANIFEST, MANIFEST_FILE, f"does not know {name}")
        elif _ours(manifest) and name in manifest.files:
            _compare_file(findings, name, file, manifest.files[name], _known_to(state, name, file))
    for field, name in (("run_count", RUNS_FILE), ("history_count", HISTORY_FILE)):
        file = manifest.files.get(name) or seen.get(name)
        told, lines = getattr(manifest, field), file.lines if file is not None else 0
        if told != lines and (file is not None or name not in expected):
            problem = f"{field} is {told}, but {name} has {lines} lines"
            findings.add(FindingKind.MANIFEST, MANIFEST_FILE, problem)


def _known_to(state: ExportState | None, name: str, file: DataFile) -> bool:
    """Say whether the state knows a data file just as it is."""
    return state is not None and file.sha256 == digest_in(state, name)


def _contradictions(manifest: ExportManifest) -> Iterator[str]:
    """Say where the manifest contradicts itself."""
    history = manifest.history_path is not None
    if (HISTORY_FILE in manifest.files) != history:
        yield f"history_path is {manifest.history_path!r}, but files says otherwise"
    if RUNS_FILE not in manifest.files:
        yield f"files does not know {RUNS_FILE}"
    if (manifest.mode == ExportMode.HISTORY) != history:
        yield f"mode is {manifest.mode}, history_path {manifest.history_path!r}"
    for field, wanted in (("runs_path", RUNS_FILE), ("history_path", HISTORY_FILE)):
        if getattr(manifest, field) not in (wanted, None):
            yield f"{field} is {getattr(manifest, field)!r}, not {wanted!r}"
    strangers = manifest.files.keys() - ({*file_order()} - {MANIFEST_FILE, STATE_FILE})
    for name in sorted(strangers):
        yield f"files has {name!r}, which is no data file"


def _compare_file(
    findings: Findings, name: str, file: DataFile, told: DataFile, known: bool
) -> None:
    if file == told:
        return
    problem = f"is not the content whose SHA-256 is in {MANIFEST_FILE}"
    if (file.lines, file.bytes) != (told.lines, told.bytes):
        here, there = f"{file.lines} lines, {file.bytes} bytes", f"{told.lines}, {told.bytes}"
        problem = f"has {here}; {MANIFEST_FILE} says {there}"
    if file.sha256 == told.sha256 or (known and name != CHANGES_FILE):
        findings.add(FindingKind.MANIFEST, MANIFEST_FILE, f"{name} {problem}")
    else:
        kind = FindingKind.LOG if name == CHANGES_FILE else FindingKind.CONTENT
        findings.add(kind, name, problem)


def digest_in(state: ExportState, name: str) -> str:
    """Return the SHA-256 that the state has of a data file, "" if it has none."""
    return state.files.get(name, "")
