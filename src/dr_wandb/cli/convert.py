"""`wandb-export convert NAME`: write an export to files of another form."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dr_wandb.cli.flags import Folder, Switch
from dr_wandb.cli.output import print_json, print_lines
from dr_wandb.cli.screen import screen
from dr_wandb.core.contract.failures import EXIT_OK
from dr_wandb.core.contract.problems import InvalidRequestError

Names = Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)]

DEFAULTS = {
    "jsonl": "{}.jsonl",
    "csv": "{}-csv",
    "parquet": "{}-parquet",
    "duckdb": "{}.duckdb",
}
"""The name of the file or folder in the current folder, by form."""


def convert(
    name: str,
    /,
    *,
    to: Literal["jsonl", "csv", "parquet", "duckdb"],
    out: Folder | None = None,
    metric: Names = None,
    run: Names = None,
    data_root: Folder = Path("./data"),
    overwrite: Switch = False,
    json: Switch = False,
) -> int:
    """Write an export to files of another form: its rows as JSON lines, or runs and rows as tables.

    The result is the same whether the export has JSON lines or only Parquet. Needs no network, and
    changes nothing in the export.

    Parameters
    ----------
    name
        Name of the export.
    to
        The form: `jsonl` for the lines of `history.jsonl`; `csv` or `parquet` for a folder with one
        file of runs and one of rows; `duckdb` for a file with the tables `runs`, `history` and
        `history_long`.
    out
        The file or folder to write, outside of the export; by default `NAME.jsonl`, `NAME-csv`,
        `NAME-parquet` or `NAME.duckdb` in the current folder. It appears when it is complete.
    metric
        Only this metric, and rows that have one of those given; repeatable. Not with `jsonl`.
    run
        Only the run with this id; repeatable. Not with `jsonl`.
    data_root
        The folder that holds the exports.
    overwrite
        Replace what is there of the same name.
    json
        Print one JSON document.
    """
    from dr_wandb.core.contract.conversion import describe_conversion, describe_converted
    from dr_wandb.shell.progress import say_nothing
    from dr_wandb.shell.store.converting import write_history_lines
    from dr_wandb.shell.store.export_store import ExportStore

    store = ExportStore(name=name, data_root=data_root)
    path = Path(DEFAULTS[to].format(name)) if out is None else out
    if to == "jsonl":
        if metric is not None or run is not None:
            problem = "--metric and --run choose columns and rows of tables; jsonl has all rows"
            raise InvalidRequestError([problem])
        with screen() as watched:
            lines = write_history_lines(
                store, path, overwrite=overwrite, progress=watched or say_nothing
            )
        print_json(lines) if json else print_lines([describe_conversion(lines)])
        return EXIT_OK
    from dr_wandb.shell.frames.converting import Chosen, convert_export
    from dr_wandb.shell.frames.loading import metrics_of, run_ids_of

    chosen = Chosen(metrics_of(metric), run_ids_of(run))
    with screen() as watched:
        done = convert_export(
            store, to, path, chosen, overwrite=overwrite, progress=watched or say_nothing
        )
    print_json(done) if json else print_lines([describe_converted(done)])
    return EXIT_OK
