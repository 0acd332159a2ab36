"""From a corpus to a token store: list, read, tokenise, put together, once; later runs open what is there.

Two stages. Every piece is read, preprocessed and encoded by workers into entries of the piece store, under addresses
that carry all that decides them (addresses.py); then the entries of all pieces are put together (assembly.py) into a
folder whose name carries the fingerprint of its whole content. So a change costs the pieces that it touches, a killed
process loses the shard it was writing, and nothing stale is ever opened. The folder is built under a hidden name and
renamed when complete; who finds another process building it waits for that.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from aurl.data.aligned import check_features
from aurl.data.assembly import MissingEntries, Tally, assemble
from aurl.data.building import alone, building_folder, shards_kept
from aurl.data.config import DataConfig, TokenizerConfig
from aurl.data.crew import Failure, available_cores
from aurl.data.index import Index, index_error, is_damage, open_index
from aurl.data.piece_store import ShardWriter
from aurl.data.plan import Plan
from aurl.data.preprocessing import PreprocessConfig, log_lines
from aurl.data.store import TokenStore
from aurl.data.where import check_where
from aurl.data.workers import Job, Made, Recipe, make_pieces
from aurl.utils.errors import AurlError
from aurl.utils.files import sync_folder
from aurl.utils.logging import get_logger

log = get_logger("data.prepare")

ATTEMPTS = 3
"""Times that entries are made again when they turn out to be damaged or removed."""


def prepare(
    data: DataConfig,
    tokenizer: TokenizerConfig,
    cache: Path,
    progress: bool = True,
    *,
    preprocess: PreprocessConfig | None = None,
    cache_limit: int | None = None,
) -> TokenStore:
    """Open the prepared corpus, building it on first use.

    Args:
        data: the corpus and its split; ``data.where`` chooses pieces of it.
        tokenizer: how scores become tokens.
        cache: folder that holds prepared corpora, one folder each, and the piece store.
        progress: show a progress bar while building.
        preprocess: what is done to scores before they are tokenised; None changes nothing.
        cache_limit: after building, remove what was not used for longest until the cache has at most so many bytes.

    Returns:
        The store; ``store.skipped`` lists the pieces that could not be read.

    Raises:
        AurlError: there is no music, nothing of it can be read, or the cache cannot be written.
    """
    cache = Path(cache).expanduser()
    recipe = _recipe(data, tokenizer, preprocess, cache)
    if data.where:
        check_where(data.where)
    with _cache_errors(cache), ExitStack() as stack:
        _make_folder(cache)
        index = open_index(cache)
        if index is not None:
            stack.enter_context(index)
        with _bar(f"Listing {data.name}", None, progress) as advance:
            plan = stack.enter_context(Plan(data, recipe, index, advance))
        folder = cache / plan.name
        store = _open_complete(folder)
        if store is not None:
            _count_use(index, plan.name, opened=1)
        else:
            store = _build(folder, plan, recipe, data, cache, index, progress)
            if cache_limit is not None:
                from aurl.data.cache import prune

                prune(cache, cache_limit)
    if data.where:
        store.choose(data.where)
    return store


def prepare_part(
    data: DataConfig,
    tokenizer: TokenizerConfig,
    cache: Path,
    part: int,
    parts: int,
    progress: bool = True,
    *,
    preprocess: PreprocessConfig | None = None,
) -> None:
    """Make the entries of one part of a corpus, for several machines that share a cache; the last step is `prepare`.

    Args:
        data: the corpus.
        tokenizer: how scores become tokens.
        cache: the shared folder.
        part: which part, 1 to ``parts``; pieces are dealt out by their addresses.
        parts: how many.
        progress: show a progress bar.
        preprocess: what is done to scores before they are tokenised.

    Raises:
        AurlError: there is no music, or the cache cannot be written.
    """
    cache = Path(cache).expanduser()
    recipe = _recipe(data, tokenizer, preprocess, cache)
    with _cache_errors(cache), ExitStack() as stack:
        _make_folder(cache)
        index = stack.enter_context(_needed(open_index(cache), cache))
        plan = stack.enter_context(Plan(data, recipe, index))
        stack.enter_context(shards_kept(cache))
        counts, failures = _make_missing(plan, recipe, data, cache, index, progress, (part - 1, parts))
        log.info(
            f"Part {part} of {parts}: {counts['made']} pieces made, {counts['reused']} there, {len(failures)} lost"
        )


def _recipe(data: DataConfig, tokenizer: TokenizerConfig, preprocess: PreprocessConfig | None, cache: Path) -> Recipe:
    check_features(data.features)
    return Recipe(tokenizer, data.limits, preprocess or PreprocessConfig(), tuple(data.features), cache)


# --- folders --------------------------------------------------------------------------------------------------------


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AurlError(f"the cache folder {cache} cannot be written ({error.strerror}); set paths.cache") from error


def _needed(index: Index | None, cache: Path) -> Index:
    if index is None:
        raise AurlError(f"the cache folder {cache} cannot be written (its index cannot be opened); set paths.cache")
    return index


@contextmanager
def _cache_errors(cache: Path) -> Iterator[None]:
    """A full disk and the like as one line."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and is_damage(error):
            raise index_error(cache, error) from error
        reason = getattr(error, "strerror", None) or error
        raise AurlError(f"cannot prepare the corpus in {cache} ({reason}); free space or set paths.cache") from error


def _open_complete(folder: Path) -> TokenStore | None:
    """The store, or None when there is none that is whole."""
    if not folder.is_dir():
        return None
    try:
        return TokenStore.open(folder)
    except AurlError as error:
        if folder.is_dir():  # else it was pruned in this moment
            log.warning(f"{error}; preparing it again")
        return None


def _publish(building: Path, folder: Path) -> TokenStore:
    """Give the finished folder its name; another process may have been faster, then its folder is used."""
    building.chmod(0o755)
    if folder.exists() and _open_complete(folder) is None:
        broken = building.with_name(f"{building.name}.broken")
        folder.rename(broken)
        shutil.rmtree(broken, ignore_errors=True)
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    sync_folder(folder.parent)
    return TokenStore.open(folder)


# --- building -------------------------------------------------------------------------------------------------------


def _build(
    folder: Path, plan: Plan, recipe: Recipe, data: DataConfig, cache: Path, index: Index | None, progress: bool
) -> TokenStore:
    """Make what is missing and put the corpus together."""
    index = _needed(index, cache)
    with alone(cache, folder.name), shards_kept(cache):
        store = _open_complete(folder)
        if store is not None:  # built by the process that we waited for
            _count_use(index, folder.name, opened=1)
            return store
        began = time.monotonic()
        tally, counts = _try_to_build(folder, plan, recipe, data, cache, index, progress)
        store = TokenStore.open(folder)
    _count_use(index, folder.name, **counts)
    _report(tally, counts, data, folder, time.monotonic() - began)
    return store


def _try_to_build(
    folder: Path, plan: Plan, recipe: Recipe, data: DataConfig, cache: Path, index: Index, progress: bool
) -> tuple[Tally, Counter[str]]:
    for _attempt in range(ATTEMPTS):
        counts, failures = _make_missing(plan, recipe, data, cache, index, progress)
        with building_folder(cache, folder) as building:
            try:
                with _bar(f"Putting {data.name} together", plan.count, progress) as advance:
                    tally = assemble(building, plan, recipe, data, cache, index, failures, advance)
            except MissingEntries as error:
                log.warning(f"{error} of the piece store are damaged or gone; making them again")
                continue
            _publish(building, folder).close()
            return tally, counts
    raise AurlError(f"the piece store in {cache} is damaged {ATTEMPTS} times in a row; is its disk sound?")


def _make_missing(
    plan: Plan,
    recipe: Recipe,
    data: DataConfig,
    cache: Path,
    index: Index,
    progress: bool,
    part: tuple[int, int] = (0, 1),
) -> tuple[Counter[str], dict[int, str]]:
    """Make the entries that are not there yet; a piece whose worker died or took too long gets a second try alone.

    The reason may lie in the machine (no memory, too many jobs), and what is lost stays lost in the prepared corpus.

    Returns:
        Counts of pieces ``made`` and ``reused``; reasons of pieces that have no entry, by number.
    """
    counts: Counter[str] = Counter(made=0, reused=0)
    failures: dict[int, str] = {}
    given: dict[int, tuple[Job, bytes, bytes]] = {}
    lost: list[tuple[Job, bytes, bytes]] = []

    def jobs(advance: Callable[[], None]) -> Iterator[Job]:
        for planned in plan:
            if int.from_bytes(planned.encoded[:8], "big") % part[1] != part[0]:
                advance()
            elif index.find(planned.encoded) is not None:
                counts["reused"] += 1
                advance()
            else:
                job = Job(planned.number, planned.piece, planned.content, index.find(planned.read))
                given[counts["given"]] = (job, planned.read, planned.encoded)
                counts["given"] += 1
                yield job

    workers = data.workers or available_cores()
    with ShardWriter(cache, index) as writer, _bar(f"Preparing {data.name}", plan.count, progress) as advance:
        for order, result in make_pieces(jobs(advance), recipe, workers):
            job, read_key, encoded_key = given.pop(order)
            if isinstance(result, Failure):
                lost.append((job, read_key, encoded_key))
            elif result.failure:
                failures[job.number] = result.failure
            else:
                _keep(writer, read_key, encoded_key, result)
            counts["made"] += 1
            advance()
        for order, result in make_pieces((job for job, *_ in lost), recipe, workers=1):
            job, read_key, encoded_key = lost[order]
            if isinstance(result, Failure) or result.failure:
                failures[job.number] = result.reason if isinstance(result, Failure) else result.failure
            else:
                _keep(writer, read_key, encoded_key, result)
    del counts["given"]
    return counts, failures


def _keep(writer: ShardWriter, read_key: bytes, encoded_key: bytes, made: Made) -> None:
    if made.read is not None:
        writer.add(read_key, made.read)
    if made.encoded is not None:
        writer.add(encoded_key, made.encoded)


def _count_use(index: Index | None, name: str, **counts: int) -> None:
    """Note that a corpus was used; a cache that cannot be written does without."""
    if index is None:
        return
    try:
        index.count_use(name, **counts)
    except sqlite3.Error as error:
        log.debug(f"use of {name} not counted: {error}")


def _report(tally: Tally, counts: Counter[str], data: DataConfig, folder: Path, seconds: float) -> None:
    """Say what was prepared, in a line each."""
    shares = ", ".join(f"{split} {tally.splits[split]}" for split in ("train", "valid", "test"))
    log.info(
        f"Prepared {data.name}: {tally.pieces} pieces ({shares}), {tally.notes} notes, {tally.tokens} tokens in "
        f"{seconds:.1f} s" + (f"; {counts['reused']} pieces were in the cache" if counts["reused"] else "")
    )
    for line in log_lines(tally.preprocessed):
        log.info(line)
    if tally.changes.total():
        log.info(f"Fitted to the vocabulary: {_listed(tally.changes)}")
    if tally.repaired:
        log.info(
            f"{tally.repaired} pieces were repaired ({_listed(tally.repairs, by_count=True)}); "
            f"listed in {folder / 'repaired.jsonl'}"
        )
    if tally.skipped:
        total = tally.pieces + tally.skipped
        log.warning(f"{tally.skipped} of {total} pieces could not be read; reasons in {folder / 'skipped.jsonl'}")


def _listed(counts: Counter[str], by_count: bool = False) -> str:
    rows = counts.most_common() if by_count else sorted(counts.items())
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in rows if count)


@contextmanager
def _bar(title: str, total: int | None, show: bool) -> Iterator[Callable[[], None]]:
    """A progress bar with files a second; gives a function that moves it on by one."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} files/s"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, rate=0.0)
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, rate=done / max(time.monotonic() - began, 1e-9))

        yield advance
