"""Work through jobs in worker processes, each of which may die at the cost of the one job it was at.

Native readers can crash or loop on a damaged file. So every worker has a pipe of its own and one job at a time: when
the pipe breaks or the time is up, that job is a failure with a reason and a fresh worker goes on with the next. What
the jobs are is up to the caller: workers.py encodes pieces, aurl/cli/data.py checks files.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from typing import Any

from aurl.utils.errors import AurlError, UnreadableFile

JOB_SECONDS = 60.0
"""Longest time for one job."""
START_SECONDS = 120.0
"""Longest time for a worker to start."""
STOP_SECONDS = 2.0
READY = "ready"
MAIN_NAMES = ("__file__", "__spec__")
"""What tells a new process which program it belongs to."""
_START_LOCK = threading.Lock()

Work = Callable[[Any], Any]
"""Does one job."""
Start = Callable[[], Work]
"""Called once in each worker; a function, or a partial of one, that can be imported by name."""


@dataclass(frozen=True)
class Failure:
    """A job that could not be done."""

    reason: str


def work_through(
    jobs: Iterable[Any],
    start: Start,
    workers: int,
    seconds: float = JOB_SECONDS,
    preload: Sequence[str] = (),
    fork: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Do jobs in worker processes.

    Args:
        jobs: all of them, drawn one by one as workers become free; what travels to a worker must pickle.
        start: makes the function that does a job.
        workers: processes.
        seconds: longest time for one job.
        preload: modules imported once for all workers, where the platform can.
        fork: copy this process as it is, which is quickest: only for one that has imported nothing native yet.

    Yields:
        (number of the job, its result or a Failure), in the order in which they are done.

    Raises:
        AurlError: worker processes cannot start.
    """
    numbered = enumerate(jobs)
    first = list(islice(numbered, workers))
    waiting = chain(first, numbered)
    following = next(waiting, None)
    context = _context(preload, fork)
    crew: list[_Worker] = []
    try:
        while len(crew) < len(first):
            crew.append(_Worker(context, start, crew))
        while crew:
            nearest = min(worker.deadline for worker in crew)
            ready = set(wait([worker.connection for worker in crew], timeout=max(nearest - time.monotonic(), 0.0)))
            for worker in list(crew):
                number: int | None
                if worker.connection in ready:
                    number, result = worker.receive()
                elif time.monotonic() > worker.deadline:
                    number, result = worker.give_up(seconds)
                else:
                    continue
                if not worker.alive:
                    crew.remove(worker)
                    if following is not None:
                        crew.append(_Worker(context, start, crew))
                elif following is not None:
                    worker.send(*following, seconds)
                    following = next(waiting, None)
                else:
                    worker.stop()
                    crew.remove(worker)
                if number is not None:
                    yield number, result
    finally:
        for worker in crew:
            worker.stop()


def in_order(results: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """Results by job number; those that are early wait."""
    early: dict[int, Any] = {}
    following = 0
    for number, result in results:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context(preload: Sequence[str], fork: bool) -> Any:
    if fork and sys.platform == "linux":
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        context.set_forkserver_preload(list(preload))  # imported once, then each worker starts in milliseconds
    return context


class _Worker:
    """One process, seen from outside."""

    def __init__(self, context: Any, start: Start, others: Sequence[_Worker]) -> None:
        self.connection, theirs = context.Pipe()
        # A forked worker holds our ends of all pipes: unless it closes them, no worker would notice that we are gone.
        forked = context.get_start_method() == "fork"
        ours = [self.connection, *(worker.connection for worker in others)] if forked else []
        self.process = context.Process(target=_work, args=(theirs, start, ours), daemon=True)
        with _without_main():
            self.process.start()
        theirs.close()
        self.number: int | None = None
        self.started, self.alive = False, True
        self.deadline = time.monotonic() + START_SECONDS

    def send(self, number: int, job: Any, seconds: float) -> None:
        """Give it a job."""
        self.number, self.deadline = number, time.monotonic() + seconds
        try:
            self.connection.send((number, job))
        except OSError:
            self.deadline = time.monotonic()  # it died between two jobs: the next look finds the pipe closed

    def receive(self) -> tuple[int | None, Any]:
        """What it says: a result, or (None, None) when it has just started, or a failure when it is gone."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            number = self.number
            self.stop()
            if not self.started:
                self.fail_to_start()
            return number, Failure(f"the reader crashed on it ({_exit_text(self.process.exitcode)})")
        self.deadline = float("inf")
        if message == READY:
            self.started = True
            return None, None
        number, result = message
        self.number = None
        return number, result

    def give_up(self, seconds: float) -> tuple[int | None, Failure]:
        """End it because its time is up."""
        if not self.started:
            self.fail_to_start()
        self.stop()
        return self.number, Failure(f"reading it took longer than {seconds:g} s")

    def fail_to_start(self) -> None:
        """Say why there is no worker."""
        self.stop()
        raise AurlError(
            "a worker process that reads music cannot start; is there enough memory? data.workers=1 needs the least"
        )

    def stop(self) -> None:
        """End the process, gently if it is idle."""
        self.alive = False
        self.connection.close()  # which an idle worker takes as the end
        self.process.join(0 if self.number is not None else STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the program again: they need this module only.

    So prepare() works in a script without ``if __name__ == "__main__":`` and in one read from standard input.
    """
    main = sys.modules["__main__"]
    with _START_LOCK:
        hidden: dict[str, Any] = {name: main.__dict__.pop(name) for name in MAIN_NAMES if name in main.__dict__}
        main.__spec__ = None
        try:
            yield
        finally:
            main.__dict__.update(hidden)


def _exit_text(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _work(connection: Connection, start: Start, foreign: Sequence[Connection]) -> None:
    """A worker's life: jobs in, results out, until the pipe closes; ``foreign`` pipes are not its own."""
    for other in foreign:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    work = start()
    _silence()
    connection.send(READY)
    while True:
        try:
            number, job = connection.recv()
        except (EOFError, OSError):
            return
        connection.send((number, _try_job(job, work)))


def _try_job(job: Any, work: Work) -> Any:
    try:
        return work(job)
    except UnreadableFile as error:
        return Failure(error.reason)
    except Exception as error:  # noqa: BLE001 - whatever one file brings up, the others go on; the reason is listed
        return Failure(f"unexpected {type(error).__name__}: {error}")


def _silence() -> None:
    """Send what native libraries print to nowhere: it would tear the progress bar."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
