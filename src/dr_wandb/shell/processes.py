"""Let other processes do what the threads of one Python cannot do at once.

Rules
- A process is asked for one piece of work at a time: a function of a module, and what it takes.
- It may fail in any way, or not begin: then there is no answer, and whoever asked does without.
- It ends when it is not asked any more, and so with this process, however that ends.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import IO, Any, NamedTuple, TypeVar, cast
from uuid import uuid4

from dr_wandb.core.contract.version import VERSION
from dr_wandb.shell.background import start
from dr_wandb.shell.progress import LOGGER

T = TypeVar("T")

WELCOME_SECONDS = 20.0
"""How long a process may take to begin: what is no Python may wait for anything."""

_SERVE = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = {path!a}
from dr_wandb.shell.processes import serve
serve()
"""
"""An interrupt is for the process that asks. Nothing is imported from where it happens to run."""


class Processes:
    """Some processes for the threads of this one, until they are closed.

    count: how many there are to be. They begin in their own time; who asks before waits for one.
    """

    def __init__(self, count: int) -> None:
        self._changed = threading.Condition()
        self._idle: list[_Process] = []
        self._there: list[_Process] = []
        try:
            for _ in range(count):
                with suppress(OSError, ValueError):  # no process to be had
                    self._there.append(_Process())
            for process in tuple(self._there):
                start(partial(self._welcome, process))
        except BaseException:
            for process in self._there:
                process.end()
            raise

    def __bool__(self) -> bool:
        """Say whether there are any left."""
        return bool(self._there)

    def ask(self, function: Callable[..., T], *arguments: Any) -> T | None:
        """Return what a function gives in another process, None where no process has an answer."""
        process = self._take()
        if process is None:
            return None
        answer = process.ask(function, *arguments)
        self._give_back(process, fit=answer is not None)
        return cast("T", answer.result) if isinstance(answer, _Done) else None

    def close(self) -> None:
        """End all of them, whatever they do. There are no answers from then on."""
        with self._changed:
            idle, self._idle = self._idle, []
            busy = [process for process in self._there if process not in idle]
            self._there = []
            self._changed.notify_all()
        for process in busy:
            process.kill()  # the thread that waits for its answer does the rest
        for process in idle:
            process.end()

    def _welcome(self, process: "_Process") -> None:
        """Wait until a process has begun, and is one of ours."""
        token = uuid4().hex
        patience = threading.Timer(WELCOME_SECONDS, process.kill)
        patience.daemon = True
        patience.start()
        answer = process.ask(_greet, token)
        patience.cancel()
        self._give_back(process, fit=answer == _Done((token, VERSION)))

    def _take(self) -> "_Process | None":
        with self._changed:
            while self._there and not self._idle:
                self._changed.wait()
            return self._idle.pop() if self._idle else None

    def _give_back(self, process: "_Process", *, fit: bool) -> None:
        with self._changed:
            closed = process not in self._there
            if fit and not closed:
                self._idle.append(process)
            elif not closed:
                self._there.remove(process)
            self._changed.notify_all()
        if closed or not fit:
            process.end()


class _Done(NamedTuple):
    """What a function gave."""

    result: Any


def _greet(token: str) -> tuple[str, str]:
    return token, VERSION


class _Process:
    """Another Python with the same modules. Asked by one thread at a time."""

    def __init__(self) -> None:
        path = [entry for entry in sys.path if isinstance(entry, str)]
        flags = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-c", _SERVE.format(path=path)],
            env={name: text for name, text in os.environ.items() if not name.startswith("WANDB")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._questions = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return `_Done`, or the text of an error; None where the process is of no more use."""
        try:
            pickle.dump((function, arguments), self._questions, pickle.HIGHEST_PROTOCOL)
            self._questions.flush()
            answer = pickle.load(self._answers)
        except Exception:
            LOGGER.debug("a process has ended", exc_info=True)
            return None
        if not isinstance(answer, _Done):
            LOGGER.debug("a process could not do its work: %s", answer)
        return answer

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def end(self) -> None:
        """End it and forget it."""
        self.kill()
        with suppress(OSError, ValueError):  # what it was not told any more
            self._process.communicate()


def count_cores() -> int:
    """Return how many cores this process may use; 1 where no other Python can be begun."""
    if not sys.executable or getattr(sys, "frozen", False):
        return 1
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def serve() -> None:
    """Do what the process that began this one asks for, until it asks no more."""
    questions: IO[bytes] = os.fdopen(os.dup(0), "rb")
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library may print is no answer
    with suppress(EOFError, BrokenPipeError):
        while True:
            answers.write(_answer(*pickle.load(questions)))
            answers.flush()


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        answer: Any = _Done(function(*arguments))
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
