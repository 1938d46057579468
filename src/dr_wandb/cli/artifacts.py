"""`wandb-export artifacts NAME`: the artifacts that an export holds, and what came from what."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dr_wandb.cli.flags import Folder, Raw, Switch
from dr_wandb.cli.output import print_lines, print_words
from dr_wandb.core.contract.failures import EXIT_OK
from dr_wandb.core.contract.problems import InvalidRequestError


def artifacts(
    name: str,
    /,
    *,
    type_name: Annotated[str | None, Parameter(name="--type")] = None,
    lineage: str | None = None,
    internal: Switch = False,
    raw: Raw = False,
    data_root: Folder = Path("./data"),
) -> int:
    """Print the artifacts that an export holds, or what came from what. Needs no network.

    Parameters
    ----------
    name
        Name of the export. It has artifacts if it was made `--with artifacts`.
    type_name
        Print only versions of this type, such as `dataset` or `model`.
    lineage
        Print what this run or version came from, and what came from it: the id of a run, or the
        name of a version, such as `data:v3` or `data:latest`.
    internal
        Print versions that W&B made for itself too, such as the exported history of each run.
    raw
        Print names as they are, even if they can steer the terminal.
    data_root
        The folder that holds the exports.
    """
    from dr_wandb.core.contract.dataset import ARTIFACTS
    from dr_wandb.core.inspect.lineage import (
        Lineage,
        chosen,
        describe_left_aside,
        describe_versions,
    )
    from dr_wandb.shell.store.export_store import ExportStore
    from dr_wandb.shell.store.loading_records import require_records

    store = ExportStore(name=name, data_root=data_root)
    require_records(store, ARTIFACTS)
    if lineage is not None:
        graph = Lineage(store.iter_artifacts(entries=False))
        node = graph.find(lineage)
        if node is None:
            missing = f"{name} has no run or version {lineage!r}{graph.did_you_mean(lineage)}"
            raise InvalidRequestError([missing])
        print_lines(graph.describe(node), raw=raw)
        return EXIT_OK
    held = list(store.iter_artifacts(entries=False))
    shown = list(chosen(held, type_name, internal=internal))
    print_lines(describe_versions(shown), raw=raw)
    if type_name is None and len(shown) < len(held):
        print_words([describe_left_aside(len(held) - len(shown))])
    return EXIT_OK
