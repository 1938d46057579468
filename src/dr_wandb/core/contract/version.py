"""The version of the tool, in the one place where it is written."""

VERSION = "4.0.0"
