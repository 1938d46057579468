"""The GraphQL documents of the API source. All of them only read."""

from collections.abc import Collection

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
    own = [field for field in fields if "." not in field]
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

VIEWER = """
query Viewer { viewer { username entity teams { edges { node { name } } } } }
"""

EVENTS = """
query RunFullHistory($entity: String!, $project: String!, $run: String!, $samples: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { eventsLineCount events(samples: $samples) }
  }
}
"""
"""Samples of a machine as JSON texts: all of them, or a selection of W&B's own."""

EVENTS_FILES = """
query EventsFiles($entity: String!, $project: String!, $collection: String!, $perPage: Int!) {
  project(name: $project, entityName: $entity) {
    artifactCollection(name: $collection) {
      artifactMembership(aliasName: "latest") {
        files(first: $perPage) {
          edges { node { id name: displayName url directUrl sizeBytes mimetype updatedAt md5 } }
        }
      }
    }
  }
}
"""
"""The Parquet files of all samples of a run, in the newest version of its own artifact."""

CONSOLE_PAGE = """
query RunConsoleLogPage($entity: String!, $project: String!, $run: String!, $first: Int!,
    $after: String) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      logLineCount
      logLines(first: $first, after: $after, useImprovedPagination: true) {
        edges { node { number timestamp level label line } }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""
"""Lines of a console, oldest first: W&B servers since 0.77."""

CONSOLE_TAIL = """
query RunConsoleLogTail($entity: String!, $project: String!, $run: String!, $last: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      logLineCount
      logLines(last: $last) {
        edges { node { number timestamp level label line } }
      }
    }
  }
}
"""
"""The last lines of a console, oldest first: all servers."""
