"""The version of the tool, written nowhere else."""

VERSION = "4.0.0"
