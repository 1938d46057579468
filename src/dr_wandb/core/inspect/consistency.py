"""Check whether the files of an export agree with each other.

Rules
- The manifest must describe the data files as they are, and the state the byte range of each run in
  them.
- A position that was reached with every row must be the one that the stored rows give.
- An export of dr-wandb 3.0.3 has neither digests nor positions: only its counts are compared.
"""

from collections.abc import Iterator, Mapping

from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    HISTORY_FILE,
    MANIFEST_FILE,
    PARQUET,
    PARQUET_HISTORY,
    PARQUET_RUNS,
    RUNS_FILE,
    STATE_FILE,
    file_order,
    holds_others,
    is_parquet,
    is_parquet_history,
    version_for,
)
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import FIRST_OF_OURS, FIRST_WITH_PARQUET
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.inspect.columns import formats_stated, history_is_in_columns, holds_columns
from dr_wandb.core.inspect.verify import FindingKind, Findings

Seen = Mapping[str, DataFile | None]
"""The data files that were read, by name; None for a missing one. One that cannot be read is not in
it."""


def check_documents(findings: Findings, manifest: ExportManifest, state: ExportState) -> None:
    """Compare the manifest with the state."""
    here, there = manifest.schema_version, state.schema_version
    if here != there:
        kind, name = FindingKind.MANIFEST, MANIFEST_FILE
        right = _fits(here, manifest), _fits(there, manifest)
        if right == (True, False) or (right[0] == right[1] and there < here):
            kind, name, here, there = FindingKind.STATE, STATE_FILE, there, here
        problem = f"schema_version is {here}, but {there} in the other document"
        findings.add(kind, name, problem)
    fields: list[tuple[str, object, object]] = [
        ("entity", manifest.entity, state.entity),
        ("project", manifest.project, state.project),
        ("name", manifest.name, state.name),
    ]
    if _ours(manifest):
        missing = _marked(state, "missing_since")
        outside = _marked(state, "out_of_scope_since")
        fields += [
            ("scope", manifest.scope, state.scope),
            ("missing_runs", manifest.missing_runs, missing),
            ("out_of_scope_runs", manifest.out_of_scope_runs, outside),
        ]
    for field, one, other in fields:
        if one != other:
            kind = FindingKind.MANIFEST
            if field in ("entity", "project"):
                kind = FindingKind.STRANGER
            problem = f"{field} is {_short(one)}, but {_short(other)} in {STATE_FILE}"
            findings.add(kind, MANIFEST_FILE, problem)


def _fits(version: int, manifest: ExportManifest) -> bool:
    """Say whether an export with the files of a manifest may have a version."""
    if holds_others(manifest.files):
        return version >= version_for(manifest.files)
    return (version >= FIRST_WITH_PARQUET) == holds_columns(manifest)


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
    """Compare the manifest with the data files.

    If the state has the digest of a file as it is, the file was not damaged: then the manifest is
    wrong.
    """
    expected = {RUNS_FILE} | ({HISTORY_FILE} if manifest.history_path is not None else set())
    if _ours(manifest):
        expected |= manifest.files.keys()
        for problem in _contradictions(manifest):
            findings.add(FindingKind.MANIFEST, MANIFEST_FILE, problem)
    for name, file in seen.items():
        if file is None:
            if name in expected and not is_parquet(name):
                findings.add(FindingKind.MISSING, name, "is missing")
        elif is_parquet(name):
            continue  # see columns.py
        elif name not in expected:
            if name != CHANGES_FILE or _ours(manifest):
                findings.add(FindingKind.MANIFEST, MANIFEST_FILE, f"does not list {name}")
        elif _ours(manifest) and name in manifest.files:
            _compare_file(findings, name, file, manifest.files[name], _known_to(state, name, file))
    _check_datasets(findings, manifest, seen)
    counted = [("run_count", RUNS_FILE), ("history_count", HISTORY_FILE)]
    if history_is_in_columns(manifest):
        counted.pop()
        rows = sum(file.lines for name, file in manifest.files.items() if is_parquet_history(name))
        if manifest.history_count != rows:
            problem = f"history_count is {manifest.history_count}, but {PARQUET_HISTORY} has {rows}"
            findings.add(FindingKind.MANIFEST, MANIFEST_FILE, f"{problem} rows")
    for field, name in counted:
        file = manifest.files.get(name) or seen.get(name)
        stated, lines = getattr(manifest, field), file.lines if file is not None else 0
        if stated != lines and (file is not None or name not in expected):
            problem = f"{field} is {stated}, but {name} has {lines} lines"
            findings.add(FindingKind.MANIFEST, MANIFEST_FILE, problem)


def _check_datasets(findings: Findings, manifest: ExportManifest, seen: Seen) -> None:
    """Compare what the manifest says of datasets other than the history with their files."""
    held = manifest.other_datasets
    for dataset in DATASETS.values():
        name, rows = dataset.file, held[dataset.name].rows if dataset.name in held else None
        if name == HISTORY_FILE:
            continue
        file = manifest.files.get(name) or seen.get(name)
        lines = file.lines if file is not None else None
        if rows != lines:
            problem = f"datasets has {rows} rows of {dataset.name}, but {name} has {lines} lines"
            findings.add(FindingKind.MANIFEST, MANIFEST_FILE, problem)


def _known_to(state: ExportState | None, name: str, file: DataFile) -> bool:
    """Say whether the state has the digest of a data file as it is."""
    return state is not None and file.sha256 == digest_in(state, name)


def _contradictions(manifest: ExportManifest) -> Iterator[str]:
    """Give the contradictions inside the manifest."""
    history = manifest.history_path is not None
    if (HISTORY_FILE in manifest.files) != history:
        yield f"history_path is {manifest.history_path!r}, but files says otherwise"
    if RUNS_FILE not in manifest.files:
        yield f"files does not list {RUNS_FILE}"
    formats = formats_stated(manifest)
    if (PARQUET in formats) != holds_columns(manifest):
        yield f"the formats are {', '.join(formats) or 'none'}, but files says otherwise"
    if PARQUET in formats and PARQUET_RUNS not in manifest.files:
        yield f"files does not list {PARQUET_RUNS}"
    if not _fits(manifest.schema_version, manifest):
        yield f"schema_version is {manifest.schema_version}, but files says otherwise"
    if (manifest.mode == ExportMode.HISTORY) != (history or PARQUET in formats):
        yield f"mode is {manifest.mode}, but history_path is {manifest.history_path!r}"
    for field, wanted in (("runs_path", RUNS_FILE), ("history_path", HISTORY_FILE)):
        if getattr(manifest, field) not in (wanted, None):
            yield f"{field} is {getattr(manifest, field)!r}, not {wanted!r}"
    strangers = manifest.files.keys() - ({*file_order()} - {MANIFEST_FILE, STATE_FILE})
    for name in sorted(name for name in strangers if not is_parquet(name)):
        yield f"files has {name!r}, which is not a data file"


def _compare_file(
    findings: Findings, name: str, file: DataFile, stated: DataFile, known: bool
) -> None:
    if file == stated:
        return
    problem = f"does not have the SHA-256 that is in {MANIFEST_FILE}"
    if (file.lines, file.bytes) != (stated.lines, stated.bytes):
        here, there = f"{file.lines} lines, {file.bytes} bytes", f"{stated.lines}, {stated.bytes}"
        problem = f"has {here}; {MANIFEST_FILE} says {there}"
    if file.sha256 == stated.sha256 or (known and name != CHANGES_FILE):
        findings.add(FindingKind.MANIFEST, MANIFEST_FILE, f"{name} {problem}")
    else:
        kind = FindingKind.LOG if name == CHANGES_FILE else FindingKind.CONTENT
        findings.add(kind, name, problem)


def digest_in(state: ExportState, name: str) -> str:
    """Return the SHA-256 that the state has of a data file, "" if it has none."""
    return state.files.get(name, "")
