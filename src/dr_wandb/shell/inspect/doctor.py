"""Check everything that an export needs, and report what is missing.

Rules
- Reads only. The API key itself is never shown, nor is a user or password in an address.
- A check is skipped if it could not succeed after one that failed.
"""

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from netrc import NetrcParseError, netrc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dr_wandb.core.contract.failures import (
    ASK_FOR_ACCESS,
    DrWandbError,
    KeyRefused,
    NoApiKey,
)
from dr_wandb.core.contract.problems import InvalidRequestError, is_count, name_problems
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.wording import size_in_words
from dr_wandb.core.inspect.diagnosis import Check, Diagnosis
from dr_wandb.shell.sources import SourceError

if TYPE_CHECKING:
    from dr_wandb.shell.sources.api.session import ApiSession
    from dr_wandb.shell.sources.api.source import ApiSource

LOWEST_WANDB = (0, 29)
"""The first SDK whose Parquet download and service calls are correct for this use."""

_KEY_VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


def diagnose(
    entity: str,
    project: str | None = None,
    data_root: Path = Path("./data"),
    timeout_seconds: int = 20,
) -> Diagnosis:
    """Check everything that an export needs, one after the other.

    Raises InvalidRequestError for invalid names.
    """
    entity, project = _stripped(entity), _stripped(project)
    problems = name_problems("entity", entity)
    problems += [] if project is None else name_problems("project", project)
    if not is_count(timeout_seconds, 1):
        problems.append(f"timeout_seconds must be 1 or more, not {timeout_seconds!r}")
    if problems:
        raise InvalidRequestError(problems)
    checks = [_check_sdk()]
    if checks[0].ok:
        checks += _check_server(entity, project, timeout_seconds)
    return Diagnosis(checks=(*checks, _check_data_root(data_root)))


def _stripped(name: Any) -> Any:
    return name.strip() if isinstance(name, str) else name


def _check_sdk() -> Check:
    try:
        found = version("wandb")
    except PackageNotFoundError:
        return Check(name="SDK", found="wandb is not installed", remedy="pip install wandb")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    lowest = ".".join(map(str, LOWEST_WANDB))
    return Check(
        name="SDK",
        found=f"wandb {found}",
        remedy=None if numbers >= LOWEST_WANDB else f"pip install 'wandb>={lowest}'",
    )


def _check_server(entity: str, project: str | None, timeout_seconds: int) -> Iterator[Check]:
    from dr_wandb.shell.sources.api.environment import find_problems

    problems = list(find_problems())
    for problem in problems:
        remedy = "set it right, or unset the variable"
        yield Check(name="environment", found=problem, remedy=remedy)
    if problems:
        return
    from dr_wandb.shell.sources.api.addresses import configured_address, host_of
    from dr_wandb.shell.sources.api.session import ApiSession

    address = configured_address()
    host = host_of(address)
    with TemporaryDirectory(prefix="dr-wandb-") as private:
        try:
            session = ApiSession(Path(private), timeout_seconds)
        except DrWandbError as error:
            yield from _explain(error, host, address)
            return
        try:
            yield Check(name="host", found=address)
            yield Check(name="API key", found=_source_of_key(host))
            yield from _check_access(session, entity, project, timeout_seconds)
        finally:
            session.close()


def _explain(error: DrWandbError, host: str, address: str) -> Iterator[Check]:
    """Report whether the host or the key is the problem."""
    said, _, remedy = error.failure.describe().partition("\n")
    if isinstance(error.failure, NoApiKey):
        yield Check(name="host", found=address)
        yield Check(
            name="API key",
            found=f"none for {host}",
            remedy="run `wandb login` or set WANDB_API_KEY",
        )
    elif isinstance(error.failure, KeyRefused):
        yield Check(name="host", found=address)
        yield Check(name="API key", found=f"{_source_of_key(host)}, {said}", remedy=remedy)
    else:
        yield Check(name="host", found=f"{address}, {said}", remedy=remedy or "try again later")


def _check_access(
    session: "ApiSession", entity: str, project: str | None, timeout_seconds: int
) -> Iterator[Check]:
    try:
        user, own = session.viewer()
    except SourceError as error:
        yield Check(name="user", found=str(error), remedy="try again later")
        return
    yield Check(name="user", found=user)
    if project is None:
        member = entity in own
        known = ", ".join(own)
        remedy = f"give a PROJECT to check that it is visible; the key's entities are {known}"
        yield Check(
            name="entity",
            found=f"{entity}, {'an' if member else 'not an'} entity of the API key",
            remedy=None if member else remedy,
        )
        return
    yield from _check_project(session, entity, project, timeout_seconds)


def _check_project(
    session: "ApiSession", entity: str, project: str, timeout_seconds: int
) -> Iterator[Check]:
    """List the project, and read the history of two runs: one may be refused and the other not.

    These are the oldest run and the newest with rows, since access may be to some runs only.
    """
    from dr_wandb.core.contract.listing import EveryRun
    from dr_wandb.shell.sources.api.source import ApiSource

    request = ExportRequest(
        entity=entity, project=project, name="doctor", timeout_seconds=timeout_seconds
    )
    name = f"{entity}/{project}"
    source = ApiSource(session, request)
    try:
        page = next(source.list_runs(EveryRun()))
    except DrWandbError as error:
        said, _, remedy = error.failure.describe().partition("\n")
        yield Check(name="project", found=said, remedy=remedy)
        return
    except SourceError as error:
        remedy = ASK_FOR_ACCESS if error.refused else "try again later"
        yield Check(name="project", found=f"{name}, {error}", remedy=remedy)
        return
    yield Check(name="project", found=f"{name}, {'?' if page.total is None else page.total} runs")
    if page.runs:
        yield _check_history(source, str(page.runs[0].get("name")))


def _check_history(source: "ApiSource", oldest: str) -> Check:
    from dr_wandb.shell.sources.api.downloads import Exported

    run_id = oldest
    try:
        files = source.require_history(oldest)
        newest = source.newest_run_with_rows(besides=oldest)
        if newest is not None and files is not Exported.REFUSED:
            run_id = newest
            files = source.require_history(run_id)
    except (SourceError, DrWandbError) as error:
        refused = isinstance(error, DrWandbError) or error.refused
        found = f"run {run_id!r} cannot be read, {str(error).splitlines()[0]}"
        return Check(
            name="history", found=found, remedy=ASK_FOR_ACCESS if refused else "try again later"
        )
    if files is Exported.REFUSED:
        found = f"run {run_id!r} can be read, but not the Parquet file of its exported rows"
        return Check(name="history", found=found, remedy=ASK_FOR_ACCESS)
    named = f"run {oldest!r}" if run_id == oldest else f"runs {oldest!r} and {run_id!r}"
    unknown = files is Exported.UNKNOWN
    note = " (not known whether the exported rows can be downloaded)" if unknown else ""
    return Check(name="history", found=f"{named} can be read{note}")


def _source_of_key(host: str) -> str:
    """Return the source of the SDK's key (in the order of wandb 0.31.0), never the key itself."""
    for variable in _KEY_VARIABLES:
        if os.environ.get(variable):
            return f"from {variable}"
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        machines = netrc(path).hosts
    except (OSError, NetrcParseError):
        machines = {}
    for machine in (host, "api.wandb.ai"):
        if machine in machines:
            return f"from {path}, machine {machine}"
    return "from the SDK's settings"


def _check_data_root(data_root: Path) -> Check:
    """Check free space and permissions of the data root, without creating anything."""
    folder = data_root.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return Check(
            name="data root",
            found=f"{data_root}, {folder} is not a folder",
            remedy="give another --data-root",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(
            name="data root",
            found=f"{data_root}, {folder} cannot be written to",
            remedy="give another --data-root, or permission to write there",
        )
    free = size_in_words(shutil.disk_usage(folder).free)
    return Check(name="data root", found=f"{data_root}, {free} free")
