"""`wandb-export status`, `verify` and `doctor`: check exports and their requirements."""

from pathlib import Path

from dr_wandb.cli.flags import REST, Every, Folder, Raw, Switch
from dr_wandb.cli.output import configure_logging, print_json, print_lines
from dr_wandb.cli.screen import screen
from dr_wandb.core.contract.failures import EXIT_DAMAGED, EXIT_OK, EXIT_PARTIAL, EXIT_UNREADY
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import check_source


def status(
    name: str | None = None,
    /,
    *,
    data_root: Folder = Path("./data"),
    every: Every = False,
    raw: Raw = False,
    json: Switch = False,
) -> int:
    """Print what is exported, when W&B was last listed, and which runs are behind.

    Parameters
    ----------
    name
        Name of the export; without it, every export below the data root.
    data_root
        The folder that holds the exports.
    every
        List every run. Without it, ten of a kind are listed and the others counted.
    raw
        Print names and values as they are, even if they can steer the terminal.
    json
        Print JSON: one document for one export, one line for each of several.
    """
    from datetime import UTC, datetime

    from dr_wandb.core.inspect.status import describe_status, describe_statuses
    from dr_wandb.shell.inspect.status import find_exports, read_status
    from dr_wandb.shell.store.export_store import ExportStore

    now = datetime.now(UTC)
    if name is not None:
        found = read_status(ExportStore(name=name, data_root=data_root), now)
        if json:
            print_json(found)
        else:
            rest = None if every else REST
            print_lines(describe_status(found, rest=rest, raw=raw), raw=raw)
        return EXIT_OK
    if not data_root.exists():
        raise InvalidRequestError([f"there is no folder {data_root}: give --data-root"])
    statuses = [read_status(store, now) for store in find_exports(data_root, unfinished=True)]
    if json:
        for one in statuses:
            print_json(one)
    else:
        print_lines(describe_statuses(statuses, raw=raw), raw=raw)
    return EXIT_OK


def verify(
    name: str,
    /,
    *,
    data_root: Folder = Path("./data"),
    quick: Switch = False,
    against_server: Switch = False,
    source: str = "api",
    timeout_seconds: int = 120,
    max_rate: float | None = None,
    every: Every = False,
    raw: Raw = False,
    json: Switch = False,
) -> int:
    """Check that an export is complete and undamaged, and list every problem.

    Reads only: nothing is repaired or deleted, neither here nor on W&B.

    Parameters
    ----------
    name
        Name of the export.
    data_root
        The folder that holds the exports.
    quick
        Check only sizes, counts and digests: look at no line. Its report says what was not checked.
    against_server
        Also compare with W&B as it is now, and list the runs whose history is fully exported.
    source
        With `--against-server`: `api`, or `replay:DIR` for a recording.
    timeout_seconds
        With `--against-server`: give up on a request after N seconds.
    max_rate
        With `--against-server`: send at most N requests a second.
    every
        List every problem, and every run. Without it, ten of a kind are listed and the others
        counted.
    raw
        Print names and values as they are, even if they can steer the terminal.
    json
        Print one JSON document.
    """
    from dr_wandb.core.inspect.holdings import describe_comparison
    from dr_wandb.core.inspect.verify import describe_report
    from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
    from dr_wandb.shell.progress import say_nothing
    from dr_wandb.shell.sources.opening import source_opener
    from dr_wandb.shell.store.export_store import ExportStore

    check_source(source)
    if quick and against_server:
        problem = "--quick cannot be combined with --against-server, which needs the full check"
        raise InvalidRequestError([problem])
    configure_logging(quiet=json)
    store = ExportStore(name=name, data_root=data_root)
    rest = None if every else REST
    if not against_server:
        with screen() as watched:
            progress = watched or say_nothing
            report = verify_export(store, quick=quick, every=every, progress=progress)
        if json:
            print_json(report)
        else:
            print_lines(describe_report(report, rest=rest, raw=raw), raw=raw)
        return EXIT_OK if report.sound else EXIT_DAMAGED
    with screen() as watched:
        comparison = compare_with_source(
            store,
            source_opener(source),
            timeout_seconds=timeout_seconds,
            max_rate=max_rate,
            every=every,
            progress=watched or say_nothing,
        )
    if json:
        print_json(comparison)
    else:
        print_lines(describe_comparison(comparison, rest=rest, raw=raw), raw=raw)
    if not comparison.report.sound:
        return EXIT_DAMAGED
    return EXIT_OK if comparison.level else EXIT_PARTIAL


def doctor(
    entity: str,
    project: str | None = None,
    /,
    *,
    data_root: Folder = Path("./data"),
    timeout_seconds: int = 20,
    raw: Raw = False,
    json: Switch = False,
) -> int:
    """Check everything that an export needs, and print one line for each check.

    Parameters
    ----------
    entity
        The user or team that owns the project.
    project
        The project; without it, only the entity is checked.
    data_root
        The folder that will hold the exports.
    timeout_seconds
        Give up on a request after N seconds.
    raw
        Print names and values as they are, even if they can steer the terminal.
    json
        Print one JSON document.
    """
    from dr_wandb.core.inspect.diagnosis import describe_diagnosis
    from dr_wandb.shell.inspect.doctor import diagnose

    diagnosis = diagnose(entity, project, data_root, timeout_seconds)
    print_json(diagnosis) if json else print_lines(describe_diagnosis(diagnosis, raw=raw), raw=raw)
    return EXIT_OK if diagnosis.ready else EXIT_UNREADY
