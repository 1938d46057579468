"""Kinds of flags that the commands share."""

from typing import Annotated

from cyclopts import Parameter

Switch = Annotated[bool, Parameter(negative="")]
"""A flag without a value and without a `--no-` form."""

Several = Annotated[list[str] | None, Parameter(negative="")]
"""A flag that may be given more than once."""
