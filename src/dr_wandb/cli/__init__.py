"""The `wandb-export` command: flags to values, results to stdout.

stdout carries the result; everything else goes to stderr. Nothing heavy is imported before it is
needed, so `--help` and `--version` answer at once.
"""

from dr_wandb.cli.command import app, main, run

__all__ = ["app", "main", "run"]
