"""The command: its subcommands, and the only code that reports failures."""

import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from inspect import signature
from typing import Any, Literal, NoReturn

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from dr_wandb.cli import gc_tuning
from dr_wandb.cli.artifacts import artifacts
from dr_wandb.cli.changes import diff, log
from dr_wandb.cli.checkout import checkout
from dr_wandb.cli.console import console
from dr_wandb.cli.convert import convert
from dr_wandb.cli.export import export
from dr_wandb.cli.help import FLAGS, full_help, short_help, wants_help
from dr_wandb.cli.inspect import doctor, status, verify
from dr_wandb.cli.interrupt import interrupt_on_signals
from dr_wandb.cli.offline import scan
from dr_wandb.cli.output import StdoutError, print_result, print_words, terminal_width
from dr_wandb.cli.sync import sync
from dr_wandb.core.contract.failures import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    DrWandbError,
)
from dr_wandb.core.contract.nearest import nearest
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.scope import CRITERIA
from dr_wandb.core.contract.version import VERSION
from dr_wandb.core.contract.wording import failure_in_words

MOMENT_SECONDS = 0.5
"""How long the end of the process waits for threads that are still running."""

NO_THREADS_OF_NUMPY = ("OPENBLAS_NUM_THREADS", "1")
"""The SDK imports numpy, which starts threads for all cores. They have nothing to do here, but each
is busy for about a twentieth of a second before it sleeps (numpy 2.4)."""

MEMORY_OF_THE_SYSTEM = ("ARROW_DEFAULT_MEMORY_POOL", "system")
"""With Arrow's own allocator a sync with Parquet needs 25 MB more for its threads, and a twentieth
less of CPU time (pyarrow 26, mimalloc)."""

ABOUT = "Export a W&B project to plain files that other programs load without W&B."

app = App(
    name="wandb-export",
    version=VERSION,
    help=ABOUT,
    help_format="plaintext",
    help_on_error=False,
    group_parameters=FLAGS,
    suppress_keyboard_interrupt=False,  # else the program ends without a word
)
app.default(export)
SUBCOMMANDS = {
    command.__name__: command
    for command in (
        export,
        sync,
        scan,
        status,
        verify,
        log,
        diff,
        artifacts,
        checkout,
        console,
        convert,
        doctor,
    )
}
for command in SUBCOMMANDS.values():
    app.command(command)


@app.command(name="--install-completion")
def install_completion(*, shell: Literal["bash", "zsh", "fish"] | None = None) -> None:
    """Install completion for a shell, and load it in new ones.

    Parameters
    ----------
    shell
        The shell; by default the one that is running.
    """
    print_result(f"installed in {app.install_completion(shell=shell)}\n")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Expected failures are reported in a line or two."""
    tokens = split_address(sys.argv[1:] if arguments is None else arguments)
    try:
        if not tokens:
            print_result(short_help(ABOUT, SUBCOMMANDS, terminal_width()))
            return EXIT_USAGE
        if wants_help(app, tokens):
            print_result(full_help(app, tokens, terminal_width()))
            return EXIT_OK
        if tokens == ["--version"]:  # cyclopts would import all of rich to print it
            print_result(f"{VERSION}\n")
            return EXIT_OK
        result: Any = app(
            tokens, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()) + _hint(tokens), EXIT_USAGE)
    except InvalidRequestError as error:
        return _fail(as_flags(failure_in_words(error.failure)), EXIT_USAGE)
    except DrWandbError as error:
        return _fail(failure_in_words(error.failure), error.exit_code)
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "interrupted", EXIT_INTERRUPTED)
    except StdoutError as error:
        return _fail(f"cannot print to stdout: {error}", EXIT_BUG)
    return result if isinstance(result, int) else EXIT_OK


def split_address(tokens: Sequence[str]) -> list[str]:
    """Make two words of an `ENTITY/PROJECT`, or of the address of a project's page."""
    first = 1 if tokens and tokens[0] in SUBCOMMANDS else 0
    before, words, rest = tokens[:first], tokens[first : first + 1], tokens[first + 1 :]
    if (first and tokens[0] not in ("export", "doctor")) or (rest and not rest[0].startswith("-")):
        return list(tokens)
    found = _ADDRESS.fullmatch("".join(words))
    return list(tokens) if found is None else [*before, found["entity"], found["project"], *rest]


_ADDRESS = re.compile(r"(https?://[^/]+/)?(?P<entity>[^-/][^/]*)/(?P<project>[^/]+)(/.*)?")


def as_flags(problems: str) -> str:
    """Replace the fields of a request, in the text of a problem, by their flags."""
    return _FIELDS.sub(lambda field: "--" + field[0].replace("_", "-"), problems)


_FLAGS = [
    *signature(export).parameters,
    *signature(log).parameters,
    *(criterion.flag for criterion in CRITERIA),
]
_FIELDS = re.compile(rf"(?<![\w-])({'|'.join(flag for flag in _FLAGS if '_' in flag)})(?!\w)")
"""Only names of two words: `name` and `mode` are words of a sentence, too."""


def _hint(tokens: Sequence[str]) -> str:
    """Return a hint for a misspelled subcommand, and for an entity called like a subcommand."""
    first = tokens[0] if tokens else ""
    near = nearest(first, SUBCOMMANDS)
    if first not in SUBCOMMANDS and near:
        return f"\ndid you mean: wandb-export {near[0]}"
    if first == "export" or first not in SUBCOMMANDS or "--name" not in tokens:
        return ""
    return f"\nfor the entity {first!r}, write: wandb-export export {first} PROJECT --name NAME"


def _fail(message: str, code: int) -> int:
    print_words(message.splitlines())
    return code


def main() -> NoReturn:
    """Run the command as a program, which SIGTERM ends as Ctrl-C does."""
    interrupt_on_signals()
    os.environ.pop("WANDB_SERVICE", None)  # set by a parent process, which may have ended
    os.environ.setdefault(*NO_THREADS_OF_NUMPY)
    os.environ.setdefault(*MEMORY_OF_THE_SYSTEM)
    gc_tuning.enable()
    code = run()
    gc_tuning.freeze_at_exit()
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process, at once if a thread goes on running: else Arrow would abort it.

    The SDK's temporary folders stay if it ends at once, so threads get a moment to end.
    """
    until = time.monotonic() + MOMENT_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0, until - time.monotonic()))
    if threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # None if it could not be written
                stream.flush()
        os._exit(code)
    sys.exit(code)
