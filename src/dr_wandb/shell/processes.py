"""The executor of a sync that was given none: other processes.

Rules
- A process does one piece of work at a time: a function of a module, with its arguments.
- It has no `WANDB_*` in its environment, imports nothing from the current folder and not the main
  module, and its output is discarded.
- It ends when it gets no more work, and so with this process, however that ends.

loky 3.7.0 was tried in its place, with Python 3.11:
- Its workers outlive this process if that is killed: for ever, or with a `timeout` of 3 s for half
  a minute.
- It starts two processes (`resource_tracker`) that stay until this one ends. They have all
  `WANDB_*` in their environment and import modules of the current folder. For a worker loky sets
  variables, but removes none.
- Its workers print to our stdout, which carries the result of the command.
- One killed worker breaks it, and all its work with it; here the other processes continue.
- It waits for ever if `sys.executable` is not Python and does not end.
- Its first answer takes 0.4 to 0.5 s, that of `Processes` 0.2 s.
`ProcessPoolExecutor` starts such a process too and, when it spawns, runs the main module again.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from functools import partial
from typing import IO, Any, NamedTuple, ParamSpec, TypeVar, cast
from uuid import uuid4

from dr_wandb.core.contract.version import VERSION
from dr_wandb.shell.background import DaemonThreads, start
from dr_wandb.shell.progress import LOGGER

T = TypeVar("T")
P = ParamSpec("P")

WELCOME_SECONDS = 20.0
"""How long a process may take to start: `sys.executable` may not be Python and could hang."""

_SERVE = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = {path!a}
from dr_wandb.shell.processes import serve
serve()
"""
"""Interrupts are left to the parent process. Nothing is imported from the current folder."""


class Processes(Executor):
    """An executor on `count` other processes, which start in the background.

    Work raises BrokenExecutor if its process ends, or if no process is left.
    """

    def __init__(self, count: int) -> None:
        self._threads = DaemonThreads(count)
        self._changed = threading.Condition()
        self._idle: list[_Process] = []
        self._there: list[_Process] = []
        try:
            for _ in range(count):
                with suppress(OSError, ValueError):  # no process can be started
                    self._there.append(_Process())
            for process in tuple(self._there):
                start(partial(self._welcome, process))
        except BaseException:
            for process in self._there:
                process.end()
            raise

    def submit(self, fn: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> "Future[T]":
        """Call a function in another process. The function and its arguments are pickled."""
        return self._threads.submit(cast("Callable[..., T]", self._ask), fn, arguments, named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the processes end when all work is done, or with the work under way."""
        self._threads.shutdown(wait=False, cancel_futures=cancel_futures)
        ended = start(self._end_when_done)
        if wait:
            ended.result()

    def kill_workers(self) -> None:
        """Cancel work that has not started, and end all processes at once."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            idle, self._idle = self._idle, []
            busy = [process for process in self._there if process not in idle]
            self._there = []
            self._changed.notify_all()
        for process in busy:
            process.kill()  # the thread that waits for its answer does the rest
        for process in idle:
            process.end()

    def _end_when_done(self) -> None:
        self._threads.shutdown()
        self.kill_workers()

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        question = pickle.dumps((function, *arguments), pickle.HIGHEST_PROTOCOL)
        process = self._take()
        answer = process.ask(question)
        self._give_back(process, fit=answer is not None)
        match answer:
            case _Done(result):
                return result
            case _Failed(error):
                raise error
        raise BrokenExecutor("a process ended before its work was done")

    def _welcome(self, process: "_Process") -> None:
        """Wait until a process has started and answers as one of ours."""
        token = uuid4().hex
        patience = threading.Timer(WELCOME_SECONDS, process.kill)
        patience.daemon = True
        patience.start()
        answer = process.ask(pickle.dumps((_greet, (token,), {})))
        patience.cancel()
        self._give_back(process, fit=answer == _Done((token, VERSION)))

    def _take(self) -> "_Process":
        with self._changed:
            while self._there and not self._idle:
                self._changed.wait()
            if not self._idle:
                raise BrokenExecutor("no process is left")
            return self._idle.pop()

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
    """The result of a function."""

    result: Any


class _Failed(NamedTuple):
    """The error that a function raised."""

    error: Exception


def _greet(token: str) -> tuple[str, str]:
    return token, VERSION


ARROW_MEMORY = "ARROW_DEFAULT_MEMORY_POOL"
"""The command chooses an allocator that keeps little memory for its many threads. Here is one
thread, and Arrow's own allocator is faster."""


class _Process:
    """Another Python with the same modules. Used by one thread at a time."""

    def __init__(self) -> None:
        path = [entry for entry in sys.path if isinstance(entry, str)]
        flags = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-c", _SERVE.format(path=path)],
            env={
                name: text
                for name, text in os.environ.items()
                if not name.startswith("WANDB") and name != ARROW_MEMORY
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._questions = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    def ask(self, question: bytes) -> _Done | _Failed | None:
        """Return the answer, None if the process can no longer be used."""
        try:
            self._questions.write(question)
            self._questions.flush()
            answer = pickle.load(self._answers)
        except Exception:
            LOGGER.debug("a worker process ended", exc_info=True)
            return None
        return answer if isinstance(answer, _Done | _Failed) else None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> None:
        """End it and forget it."""
        self.kill()
        with suppress(OSError, ValueError):  # input that it did not read
            self._process.communicate()


def serve() -> None:
    """Do the work that the parent process sends, until it sends no more."""
    questions: IO[bytes] = os.fdopen(os.dup(0), "rb")
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a library is not an answer
    with suppress(EOFError, BrokenPipeError):
        while True:
            answers.write(_answer(*pickle.load(questions)))
            answers.flush()


def _answer(
    function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> bytes:
    try:
        return pickle.dumps(_Done(function(*arguments, **named)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return pickle.dumps(_Failed(_as_sent(error)), pickle.HIGHEST_PROTOCOL)


def _as_sent(error: Exception) -> Exception:
    """Return an error that the other process can unpickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
