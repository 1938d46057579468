"""Tables of Arrow as frames of other libraries, which are imported when they are asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from dr_wandb.core.contract.nearest import did_you_mean
from dr_wandb.core.contract.problems import InvalidRequestError

if TYPE_CHECKING:
    import pyarrow as pa

Engine = Literal["polars", "pandas", "arrow"]

ENGINES = ("polars", "pandas", "arrow")


def library(name: str) -> Any:
    """Import a library. Raises ModuleNotFoundError that says how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        message = (
            f"{name} is not installed; install it, or this tool with it:"
            f" pip install '.[{name}]' in the checkout"
        )
        raise ModuleNotFoundError(message, name=name) from None


def require_engine(engine: str) -> None:
    """Raise InvalidRequestError for an engine that there is not, and import the library of one."""
    if engine not in ENGINES:
        known = ", ".join(ENGINES[:-1])
        near = did_you_mean(str(engine), ENGINES)
        raise InvalidRequestError(
            [f"engine must be {known} or {ENGINES[-1]}, not {engine!r}{near}"]
        )
    if engine != "arrow":
        library(engine)


def as_frame(table: "pa.Table", engine: str) -> Any:
    """Return a table as a frame of an engine, with the same values.

    In pandas all columns have types of Arrow: there, NaN and a value that is missing differ.
    """
    if engine == "polars":
        # Arrow hands over names up to a NUL; Polars gives a column without a name another one.
        numbered = table.rename_columns([str(number) for number in range(table.num_columns)])
        frame = library("polars").from_arrow(numbered)
        frame.columns = table.column_names
        return frame
    if engine == "pandas":
        return table.to_pandas(types_mapper=library("pandas").ArrowDtype)
    return table
