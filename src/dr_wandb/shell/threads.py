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
    waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Job, Outcome | None, BaseException | None]] = queue.SimpleQueue()
    count = 0
    for job in jobs:
        waiting.put(job)
        count += 1

    def serve() -> None:
        while (job := waiting.get()) is not None:
            try:
                done.put((job, work(job), None))
            except BaseException as error:
                done.put((job, None, error))

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(workers, count))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(count):
            job, answer, error = done.get()
            if error is not None:
                raise error
            yield job, answer  # type: ignore[misc]
    finally:
        while not waiting.empty():
            waiting.get()
        for _ in threads:
            waiting.put(None)
