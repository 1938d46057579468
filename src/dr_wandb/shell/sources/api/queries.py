"""The GraphQL documents of the API source. All of them read."""

RUNS = """
query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int, $order: String,
    $filters: JSONString, $scope: JSONString) {
  project(name: $project, entityName: $entity) {
    total: runCount(filters: $scope)
    matching: runCount(filters: $filters)
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
      edges {
        cursor
        node {
          id name displayName state config group jobType commit readOnly createdAt heartbeatAt
          description notes tags sweepName projectId systemMetrics summaryMetrics
          historyLineCount historyKeys
          user { name username }
        }
      }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""
"""One page of runs. The fields are those of the SDK's full fragment (wandb 0.31.0)."""

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

EXPORTS = """
query RunParquetHistory($entity: String!, $project: String!, $runName: String!,
    $liveKeys: [String!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $runName) {
      parquetHistory(liveKeys: $liveKeys) { parquetUrls }
    }
  }
}
"""

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
