"""Read and encode pieces in worker processes (crew.py), so that a crash or a hang costs one piece.

A worker gets a piece with its address; what the cache has of it (the score, after a change of tokenizer) is used, the
rest is made and handed back as entries. Only the process that asked writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aurl.data import encoding, reading
from aurl.data.addresses import content_of
from aurl.data.aligned import Provider, provider
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.crew import JOB_SECONDS, Failure, work_through
from aurl.data.entries import DamagedEntry
from aurl.data.index import Place
from aurl.data.piece_store import read_entry
from aurl.data.preprocessing import PreprocessConfig
from aurl.data.sources import Piece, load_reading
from aurl.music.limits import DEFAULT_LIMITS, ReadLimits
from aurl.music.score import Reading
from aurl.utils.errors import UnreadableFile


@dataclass(frozen=True)
class Recipe:
    """What is done with every piece of a corpus."""

    tokenizer: TokenizerConfig
    limits: ReadLimits = DEFAULT_LIMITS
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    features: tuple[str, ...] = ()
    cache: Path | None = None
    """Where read pieces may lie already."""


@dataclass(frozen=True)
class Job:
    """One piece for a worker."""

    number: int
    """Its place in the corpus."""
    piece: Piece
    content: str = ""
    """SHA-256 of its file, or what stands for it."""
    place: Place | None = None
    """Where it lies as a score, if it was read before."""


@dataclass(frozen=True)
class Made:
    """What a worker made of a piece: entries, None where there is none to keep."""

    number: int
    read: bytes | None
    """Entry of the read piece; None if it came from the cache."""
    encoded: bytes | None
    """Entry of the encoded piece."""
    failure: str = ""
    """Set if the piece is lost this time for a reason that lies in the moment, not in its bytes."""


Loader = Callable[[Piece, ReadLimits], Reading]
"""Reads a piece; a function that can be imported by name in a worker."""
CHANGED = "the file changed while it was read"


def make_pieces(
    jobs: Iterable[Job], recipe: Recipe, workers: int, seconds: float = JOB_SECONDS, load: Loader = load_reading
) -> Iterator[tuple[int, Made | Failure]]:
    """Read and encode pieces in worker processes.

    Args:
        jobs: drawn one by one.
        recipe: what is done.
        workers: processes.
        seconds: longest time for one piece.
        load: reads a piece.

    Yields:
        (number of the job in the order given, result), in the order in which they are done.

    Raises:
        AurlError: worker processes cannot start.
    """
    return work_through(jobs, partial(_start, recipe, load), workers, seconds, preload=[__name__])


def _start(recipe: Recipe, load: Loader) -> Callable[[Job], Made]:
    """What a worker does with each piece."""
    codec = Codec.from_config(recipe.tokenizer)
    providers = [provider(name) for name in recipe.features]
    return lambda job: make_piece(job, recipe, codec, providers, load)


def make_piece(
    job: Job, recipe: Recipe, codec: Codec, providers: Sequence[Provider] = (), load: Loader = load_reading
) -> Made:
    """Read one piece, or take it from the cache, and encode it."""
    name = job.piece.path or job.piece.id
    entry: bytes | None = None
    reason = ""
    read = _kept(job, recipe)
    if read is None:
        try:
            read = reading.read_piece_fully(job.piece, partial(_load, load, recipe.limits), recipe.preprocess)
            entry = reading.to_entry(read)
        except UnreadableFile as error:
            reason = error.reason
            entry = reading.failed_entry(reason)
        if job.piece.path and job.content and content_of(job.piece.path, recipe.limits) != job.content:
            return Made(job.number, None, None, CHANGED)
    if read is None or read.failure:
        return Made(job.number, entry, encoding.failed_entry(read.failure if read is not None else reason))
    try:
        return Made(job.number, entry, encoding.to_entry(encoding.encode_piece(name, read, codec, providers)))
    except UnreadableFile as error:
        return Made(job.number, entry, encoding.failed_entry(error.reason))


def _load(load: Loader, limits: ReadLimits, piece: Piece) -> Reading:
    return load(piece, limits)


def _kept(job: Job, recipe: Recipe) -> reading.ReadPiece | None:
    """The piece as it was read before, or None where it must be read (again)."""
    if job.place is None or recipe.cache is None:
        return None
    try:
        return reading.from_entry(read_entry(recipe.cache, job.place))
    except DamagedEntry:
        return None  # its new entry takes the place of the damaged one
