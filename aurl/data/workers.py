"""Read and encode pieces in worker processes, each of which may die at the cost of the one piece it was at.

Native readers can crash or loop on a damaged file. So every worker has a pipe of its own and one piece at a time: when
the pipe breaks or the time is up, that piece is a failure with a reason and a fresh worker goes on with the next.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.sources import Piece, load_piece
from aurl.data.splits import top_line_ngrams
from aurl.data.vocabulary import Kind
from aurl.utils.errors import AurlError, UnreadableFile

PIECE_SECONDS = 60.0
"""Longest time for one piece."""
START_SECONDS = 120.0
"""Longest time for a worker to start."""
STOP_SECONDS = 2.0
READY = "ready"
MAIN_NAMES = ("__file__", "__spec__")
"""What tells a new process which program it belongs to."""
_START_LOCK = threading.Lock()


@dataclass(frozen=True)
class Encoded:
    """A piece as tokens, with what its record needs."""

    ids: NDArray[np.uint16]
    """(T,) BOS ... EOS."""
    bars: NDArray[np.int32]
    beats: NDArray[np.float32]
    notes: int
    length: float
    """Quarter notes to the end of the last note."""
    pitch_low: int
    pitch_high: int
    tracks: int
    tokens: int
    changes: dict[str, int] = field(default_factory=dict)
    """What had to change to fit the vocabulary, counted."""
    signature: NDArray[np.uint64] | None = None
    """Hashes of its melody, for finding near-duplicates."""


@dataclass(frozen=True)
class Failure:
    """A piece that could not be read."""

    reason: str


Loader = Callable[[Piece], Any]
"""Reads a piece and gives its score; a function that can be imported by name in a worker."""


def encode_piece(piece: Piece, codec: Codec, with_signature: bool, load: Loader = load_piece) -> Encoded:
    """Read and encode one piece.

    Args:
        piece: which.
        codec: makes the tokens.
        with_signature: also compute what near-duplicates are found by.
        load: reads the piece.

    Raises:
        UnreadableFile: it cannot be read, or no note of it fits the vocabulary.
    """
    score = load(piece)
    signature = None
    if with_signature:
        hashes = top_line_ngrams(score)
        signature = np.fromiter(hashes, dtype=np.uint64, count=len(hashes))
    fitted, changes = codec.prepare_score(score)
    vocabulary = codec.vocabulary
    inner = codec.encode(fitted)
    notes = vocabulary.count_notes(inner)
    if notes == 0:
        raise UnreadableFile(piece.path or piece.id, "no note of it fits the vocabulary (tokenizer.pitch_range)")
    ids = np.concatenate([[vocabulary.bos], inner, [vocabulary.eos]]).astype(np.uint16)
    bars, beats = vocabulary.musical_time(ids)
    kinds, values = vocabulary.kind[ids], vocabulary.value[ids]
    pitches = values[kinds == Kind.PITCH]
    end = max(int((notes_["time"].astype(np.int64) + notes_["duration"]).max()) for notes_ in _note_columns(fitted))
    return Encoded(
        ids=ids,
        bars=bars,
        beats=beats,
        notes=notes,
        length=end / fitted.ticks_per_quarter,
        pitch_low=int(pitches.min()) if len(pitches) else -1,
        pitch_high=int(pitches.max()) if len(pitches) else -1,
        tracks=len(np.unique(ids[kinds == Kind.PROGRAM])),
        tokens=len(ids),
        changes=changes,
        signature=signature,
    )


def _note_columns(score: Any) -> list[dict[str, NDArray[Any]]]:
    """The note arrays of all tracks that have notes."""
    return [track.notes.numpy() for track in score.tracks if len(track.notes)]


def encode_pieces(
    pieces: Sequence[Piece],
    tokenizer: TokenizerConfig,
    with_signature: bool,
    workers: int,
    seconds: float = PIECE_SECONDS,
    load: Loader = load_piece,
) -> Iterator[tuple[int, Encoded | Failure]]:
    """Read and encode pieces in worker processes.

    Args:
        pieces: all of them.
        tokenizer: how scores become tokens.
        with_signature: also compute what near-duplicates are found by.
        workers: processes.
        seconds: longest time for one piece.
        load: reads a piece.

    Yields:
        (number of the piece, result), in the order in which they are done.

    Raises:
        AurlError: worker processes cannot start.
    """
    waiting = list(range(len(pieces)))[::-1]
    crew = [_Worker(tokenizer, with_signature, load) for _ in range(min(workers, len(pieces)))]
    try:
        while crew:
            nearest = min(worker.deadline for worker in crew)
            ready = set(wait([worker.connection for worker in crew], timeout=max(nearest - time.monotonic(), 0.0)))
            for worker in list(crew):
                number: int | None
                result: Encoded | Failure | None
                if worker.connection in ready:
                    number, result = worker.receive()
                elif time.monotonic() > worker.deadline:
                    number, result = worker.give_up(seconds)
                else:
                    continue
                if not worker.alive:
                    crew.remove(worker)
                    if waiting:
                        crew.append(_Worker(tokenizer, with_signature, load))
                elif waiting:
                    index = waiting.pop()
                    worker.send(index, pieces[index], seconds)
                else:
                    worker.stop()
                    crew.remove(worker)
                if number is not None and result is not None:
                    yield number, result
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """One process, seen from outside."""

    def __init__(self, tokenizer: TokenizerConfig, with_signature: bool, load: Loader) -> None:
        context: Any = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
        if os.name == "posix":
            context.set_forkserver_preload([__name__])  # imported once, then each worker starts in milliseconds
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, tokenizer, with_signature, load), daemon=True)
        with _without_main():
            self.process.start()
        theirs.close()
        self.number: int | None = None
        self.started, self.alive = False, True
        self.deadline = time.monotonic() + START_SECONDS

    def send(self, number: int, piece: Piece, seconds: float) -> None:
        """Give it a piece."""
        self.number, self.deadline = number, time.monotonic() + seconds
        try:
            self.connection.send((number, piece))
        except OSError:
            self.deadline = time.monotonic()  # it died between two pieces: the next look finds the pipe closed

    def receive(self) -> tuple[int | None, Encoded | Failure | None]:
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
        self.connection.close()
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


def _work(connection: Connection, tokenizer: TokenizerConfig, with_signature: bool, load: Loader) -> None:
    """A worker's life: pieces in, results out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    codec = Codec.from_config(tokenizer)
    _silence()
    connection.send(READY)
    while True:
        try:
            number, piece = connection.recv()
        except (EOFError, OSError):
            return
        connection.send((number, _try_piece(piece, codec, with_signature, load)))


def _try_piece(piece: Piece, codec: Codec, with_signature: bool, load: Loader) -> Encoded | Failure:
    try:
        return encode_piece(piece, codec, with_signature, load)
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
