"""Do many pieces of work on a few threads.

Rules
- Answers come as they are ready, in any order.
- An interrupt does not wait for work that is under way: the threads are daemons. Those of
  `concurrent.futures` are joined when Python ends.
- The first exception ends the iteration; work that was not begun by then is dropped.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

WORKERS = 16
"""Eight for each of two sessions: wandb-core takes at most 10 requests at a time for one `Api`
(wandb 0.31.0), and a second one is opened where the first is full."""

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def in_threads(
    jobs: Iterable[Job], work: Callable[[Job], Outcome], workers: int = WORKERS
) -> Iterator[tuple[Job, Outcome]]:
    """Do the work of all jobs on a few threads; give each answer as it comes.

    An exception in `work` is raised from the iteration.
    """
    return in_lanes([(jobs, workers)], work)


def in_lanes(
    lanes: Iterable[tuple[Iterable[Job], int]], work: Callable[[Job], Outcome]
) -> Iterator[tuple[Job, Outcome]]:
    """Do as `in_threads`, with some threads for the jobs of each lane alone."""
    done: queue.SimpleQueue[tuple[Job, Outcome | None, BaseException | None]] = queue.SimpleQueue()

    def serve(waiting: queue.SimpleQueue[Job | None]) -> None:
        while (job := waiting.get()) is not None:
            try:
                done.put((job, work(job), None))
            except BaseException as error:
                done.put((job, None, error))

    count = 0
    started: list[queue.SimpleQueue[Job | None]] = []
    try:
        for jobs, workers in lanes:
            waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
            before = count
            for job in jobs:
                waiting.put(job)
                count += 1
            for _ in range(min(workers, count - before)):
                threading.Thread(target=serve, args=[waiting], daemon=True).start()
                started.append(waiting)
        for _ in range(count):
            job, answer, error = done.get()
            if error is not None:
                raise error
            yield job, answer  # type: ignore[misc]
    finally:
        for waiting in started:
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
        for waiting in started:
            waiting.put(None)
