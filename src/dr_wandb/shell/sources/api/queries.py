"""The GraphQL documents of the API source. All of them only read."""

from collections.abc import Callable, Collection, Iterable

from dr_wandb.core.contract.dataset import INPUTS, MOVED_AT, OUTPUTS
from dr_wandb.core.sync.left_out import COUNTS, listed_fields

_RUNS = """
query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int, $order: String,
    $filters: JSONString%(variables)s) {
  project(name: $project, entityName: $entity) {
    %(counts)s
    %(before)s
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
      edges {
        cursor
        %(node)s
      }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

_COUNTS = "total: runCount(filters: $scope)\n    matching: runCount(filters: $filters)"

_SPELLED = {
    **{name: f"{name}(first: 1) {{ totalCount }}" for name in (OUTPUTS, INPUTS)},
    "updatedAt": f"{MOVED_AT}: updatedAt",
}
"""How some fields of a run are requested: of connections, only the number."""

_BEFORE = """before: runs(filters: $filters, after: $before, first: 1, order: $order) {
      edges { node { name } }
    }"""


def runs_document(
    left_out: Collection[str],
    *,
    datasets: Collection[str] = (),
    name_before: bool = False,
    cursors_only: bool = False,
) -> str:
    """Return the document for one page of runs, without some of its fields or `COUNTS`.

    datasets: those whose counters are requested too.

    name_before: also request the name of the run after the cursor `before`. cursors_only: request
    no fields of the runs.
    """
    fields = [field for field in listed_fields(datasets) if field not in left_out]
    own = [_SPELLED.get(field, field) for field in fields if "." not in field]
    of_user = [field.removeprefix("user.") for field in fields if "." in field]
    if of_user:
        own.append(f"user {{ {' '.join(of_user)} }}")
    counted = COUNTS not in left_out
    return _RUNS % {
        "variables": f"{', $scope: JSONString' if counted else ''}"
        f"{', $before: String' if name_before else ''}",
        "before": _BEFORE if name_before else "",
        "counts": _COUNTS if counted else "",
        "node": "" if cursors_only else f"node {{ {' '.join(own)} }}",
    }


HISTORY_PAGE = """
query HistoryPage($entity: String!, $project: String!, $run: String!, $minStep: Int64!,
    $maxStep: Int64!, $pageSize: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize)
    }
  }
}
"""
"""Rows as JSON texts: minStep inclusive, maxStep exclusive, at most pageSize rows."""

LIVE_STEPS = """
query RunParquetHistory($entity: String!, $project: String!, $runName: String!,
    $liveKeys: [String!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $runName) {
      parquetHistory(liveKeys: $liveKeys) { liveData }
    }
  }
}
"""
"""`liveData` has one item for each row that is not exported to Parquet yet."""

EXPORTED_FILES = """
query RunParquetHistory($entity: String!, $project: String!, $runName: String!,
    $liveKeys: [String!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $runName) {
      parquetHistory(liveKeys: $liveKeys) { parquetUrls }
    }
  }
}
"""
"""The addresses of a run's Parquet files; each of them allows the download for some time."""

RUN_FILE = """
query RunFiles($project: String!, $entity: String!, $name: String!, $fileNames: [String]) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      files(names: $fileNames, first: 1) {
        edges { node { id name url(upload: false) directUrl sizeBytes mimetype updatedAt md5 } }
      }
    }
  }
}
"""

Document = Callable[[Collection[str]], str]
"""Makes the document for a page of records, without some fields."""

SWEEP_FIELDS = (
    *("id", "name", "displayName", "method", "state", "description", "bestLoss", "config"),
    *("createdAt", "updatedAt", "runCount", "runCountExpected"),
)

OPTIONAL_SWEEP_FIELDS = frozenset(
    {"displayName", "method", "description", "bestLoss", "updatedAt", "runCountExpected"}
)
"""Those that a server may not know."""

_SWEEPS = """
query GetSweeps($project: String!, $entity: String!, $cursor: String, $perPage: Int) {
  project(name: $project, entityName: $entity) {
    total: totalSweeps
    records: sweeps(after: $cursor, first: $perPage) {
      pageInfo { endCursor hasNextPage }
      edges { node { %s } }
    }
  }
}
"""


def sweeps_document(left_out: Collection[str] = ()) -> str:
    """Return the document for one page of sweeps with their configs.

    The SDK's own listing throws the configs away, and asks for each sweep again.
    """
    return _SWEEPS % _without(SWEEP_FIELDS, left_out)


REPORT_FIELDS = (*("id", "name", "displayName", "description", "createdAt", "updatedAt", "spec"),)

OPTIONAL_REPORT_FIELDS = frozenset({"description", "updatedAt"})

_REPORTS = """
query ProjectViews($project: String!, $entity: String!, $cursor: String, $perPage: Int,
    $viewType: String = "runs") {
  project(name: $project, entityName: $entity) {
    records: allViews(viewType: $viewType, first: $perPage, after: $cursor) {
      pageInfo { endCursor hasNextPage }
      edges {
        cursor
        node {
          %s
          user { %s }
        }
      }
    }
  }
}
"""


def reports_document(left_out: Collection[str] = (), *, with_email: bool) -> str:
    """Return the document for one page of reports; W&B does not count them.

    with_email: also request the e-mail address of each author.
    """
    author = "username name email" if with_email else "username name"
    return _REPORTS % (_without(REPORT_FIELDS, left_out), author)


def _without(fields: Iterable[str], left_out: Collection[str]) -> str:
    return " ".join(field for field in fields if field not in left_out)


COLLECTIONS = """
query ProjectArtifactCollections($project: String!, $entity: String!, $cursor: String,
    $perPage: Int) {
  project(name: $project, entityName: $entity) {
    records: artifactCollections(after: $cursor, first: $perPage) {
      totalCount
      pageInfo { endCursor hasNextPage }
      edges {
        node {
          name updatedAt
          type: defaultArtifactType { name }
          artifacts(first: 1) { totalCount }
        }
      }
    }
  }
}
"""
"""Collections with what moves if their versions do."""

ARTIFACT_FIELDS = (
    *("id", "versionIndex", "description", "metadata", "state", "size", "digest", "fileCount"),
    *("createdAt", "updatedAt", "ttlDurationSeconds", "ttlIsInherited", "historyStep"),
    *("commitHash", "digestAlgorithm"),
)
"""The fields of a version: the SDK's own fragment (wandb 0.31.0), without its aliases and tags."""

OPTIONAL_FIELDS = frozenset(
    {"ttlDurationSeconds", "ttlIsInherited", "historyStep", "commitHash", "digestAlgorithm"}
)
"""Those that a server may not know."""

USED_AS = "usedAs"

_ARTIFACT = """%s
            artifactSequence { name project { name entityName } } artifactType { name }
            tags { name } aliases { alias artifactCollection { name } }"""


def _artifact(left_out: Collection[str]) -> str:
    return _ARTIFACT % _without(ARTIFACT_FIELDS, left_out)


def versions_document(count: int, left_out: Collection[str] = ()) -> str:
    """Return the document for a page of versions of each of several collections."""
    declared = ", ".join(
        f"$type{n}: String!, $name{n}: String!, $after{n}: String" for n in range(count)
    )
    asked = "\n".join(
        f"""    c{n}: artifactType(name: $type{n}) {{
      artifactCollection(name: $name{n}) {{
        artifacts(first: $perPage, after: $after{n}) {{ ...versions }}
      }}
    }}"""
        for n in range(count)
    )
    return f"""
query ProjectArtifacts($project: String!, $entity: String!, $perPage: Int, {declared}) {{
  project(name: $project, entityName: $entity) {{
{asked}
  }}
}}

fragment versions on VersionedArtifactConnection {{
  totalCount
  pageInfo {{ endCursor hasNextPage }}
  edges {{ version node {{ {_artifact(left_out)} }} }}
}}
"""


def links_document(count: int, left_out: Collection[str] = ()) -> str:
    """Return the document for the artifacts that each of several runs logged and used."""
    declared = ", ".join(
        f"$run{n}: String!, $outputs{n}: String, $inputs{n}: String" for n in range(count)
    )
    used_as = "" if USED_AS in left_out else USED_AS
    asked = "\n".join(
        f"""    r{n}: run(name: $run{n}) {{
      outputArtifacts(first: $perPage, after: $outputs{n}) {{
        totalCount
        pageInfo {{ endCursor hasNextPage }}
        edges {{ node {{ id }} }}
      }}
      inputArtifacts(first: $perPage, after: $inputs{n}) {{
        totalCount
        pageInfo {{ endCursor hasNextPage }}
        edges {{ {used_as} node {{ {_artifact(left_out)} }} }}
      }}
    }}"""
        for n in range(count)
    )
    return f"""
query RunArtifacts($project: String!, $entity: String!, $perPage: Int, {declared}) {{
  project(name: $project, entityName: $entity) {{
{asked}
  }}
}}
"""


def manifests_document(count: int) -> str:
    """Return the document for the addresses of the manifests of several versions."""
    declared = ", ".join(f"$id{n}: ID!" for n in range(count))
    asked = "\n".join(
        f"  a{n}: artifact(id: $id{n}) {{ currentManifest {{ file {{ directUrl }} }} }}"
        for n in range(count)
    )
    return f"\nquery FetchArtifactManifests({declared}) {{\n{asked}\n}}\n"


VIEWER = """
query Viewer { viewer { username entity teams { edges { node { name } } } } }
"""
