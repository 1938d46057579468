"""The GraphQL document for the files of a run. It only reads."""

FILES_PAGE = """
query RunFiles($project: String!, $entity: String!, $run: String!, $after: String, $first: Int,
    $fileNames: [String]) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      fileCount
      files(names: $fileNames, after: $after, first: $first) {
        edges {
          cursor
          node { name url(upload: false) directUrl sizeBytes mimetype updatedAt md5 }
        }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""
"""Files of a run, all of them or some by their names, with addresses that expire."""
