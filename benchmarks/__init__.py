"""Measure this tool, dr-wandb 3.0.3 and the floor, on one machine against one stand-in server.

Rules
- The two tools run in turn, each in an environment, a home and a temp folder of its own, on the
  same Python and the same wandb; folders are made anew before every first export.
- An offline file needs no server, and 3.0.3 cannot read it: beside it stands the parsing of its
  records alone.
- The server is a process of its own, with its answers prepared; its CPU time is reported.
- A tool that exports another number of rows than the server holds is told of, never hidden.
- The process that measures stays small: it imports neither pyarrow nor wandb, since a child's
  peak memory is at least that of its parent at the fork.
"""
