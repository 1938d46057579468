"""Decide everything, touch nothing.

Modules in this package are pure: no files, no network, no clock, no environment, no logging, and
no wandb. Their results can be printed as JSON, which is how `--dry-run` shows a plan.
"""
