"""The `WANDB_*` variables, checked before the SDK reads them.

Rules
- Every variable that the SDK refuses is named at once, with the reason, in one failure. The SDK
  raises whatever its validation library does, for one of them, at its import or later (0.31.0).
- The value of a key is never printed, nor what may be a password in an address. White space around
  a key is removed, and that is logged.
- A settings file of the SDK is checked by the SDK alone.
"""

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from dr_wandb.core.contract.failures import BadEnvironment, DrWandbError
from dr_wandb.core.sync.scrub import REMOVED
from dr_wandb.shell.progress import LOGGER

KEY = "WANDB_API_KEY"
_HTTP_TIMEOUT = "WANDB_HTTP_TIMEOUT"
"""Read when `wandb` is imported, as an integer."""


def check_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Raise DrWandbError if the SDK would refuse a variable; remove white space around the key."""
    key = environment.get(KEY, "")
    if key != key.strip():
        LOGGER.warning("%s begins or ends with white space, which was removed", KEY)
        environment[KEY] = key.strip()
    problems = tuple(find_problems(environment))
    if problems:
        raise DrWandbError(BadEnvironment(problems=problems))


def find_problems(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Give each variable that the SDK would refuse, with the reason."""
    timeout = environment.get(_HTTP_TIMEOUT)
    if timeout is not None and not _is_integer(timeout):
        yield f"{_HTTP_TIMEOUT}={_shown(repr(timeout))} is not an integer"
        return  # wandb cannot be imported
    import wandb

    settings = wandb.Settings()
    for name in sorted(environment):
        if not name.startswith("WANDB_") or name in (KEY, _HTTP_TIMEOUT):
            continue
        try:
            settings.update_from_env_vars({name: environment[name]})
        except Exception as error:
            yield f"{name}={_shown(repr(environment[name]))}: {_shown(_reason(error))}"


_PASSWORD = re.compile(r"[^\s/@'\"]+@(?=[^\s/@]+)")


def _shown(text: str) -> str:
    return _PASSWORD.sub(f"{REMOVED}@", text)


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    """Return what a validation says without its frame of names and links."""
    details: Any = getattr(error, "errors", None)
    texts = [str(detail.get("msg", "")) for detail in details()] if callable(details) else []
    text = "; ".join(filter(None, texts)) or str(error)
    return " ".join(text.removeprefix("Value error, ").split())
