"""The data report: everything worth knowing about a prepared corpus as one JSON object, pieces named by number.

The store says what was prepared, skipped and repaired; each piece is read once more in worker processes and counted by
``piece_statistics``. The page (report_page.py) shows this object and nothing else; measures and charts are
report_measures.py and report_charts.py, near-duplicates report_duplicates.py, what to worry about report_findings.py.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.codec import Codec
from aurl.data.crew import JOB_SECONDS, Failure, available_cores, in_order, work_through
from aurl.data.preprocessing import PreprocessConfig, beats_beside, preprocess_score
from aurl.data.reading import companion_of
from aurl.data.records import StoredPiece
from aurl.data.report_charts import charts
from aurl.data.report_duplicates import near_duplicates
from aurl.data.report_findings import findings
from aurl.data.report_measures import SPLITS, measures_of, outliers
from aurl.data.sources import Piece, load_reading, unique_id
from aurl.data.splits import top_line_ngrams
from aurl.data.store import REPAIRED, TokenStore
from aurl.music.limits import DEFAULT_LIMITS, ReadLimits
from aurl.music.statistics import piece_statistics
from aurl.utils.errors import AurlError

REPORT_VERSION = 1
"""Layout of the JSON object."""
SECONDS_PER_HOUR = 3600.0
MEASURED = {
    "off_grid_before": "off_grid_share",
    "onset_error_mean": "onset_error_mean_ms",
    "onset_error_p95": "onset_error_p95_ms",
    "duration_error_mean": "duration_error_mean_ms",
}
"""Measures of the report, and what preprocessing calls them."""
NUMBER = re.compile(r"\d[\d,.]*(?<=\d)")
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Counted:
    """What a worker says of a piece."""

    statistics: dict[str, Any]
    signature: NDArray[np.uint64]
    """Sorted hashes that near-duplicates are found by."""
    changes: dict[str, int] = field(default_factory=dict)
    """What had to change to fit the vocabulary, counted."""
    preprocessed: dict[str, int] = field(default_factory=dict)
    """What preprocessing did, counted."""


def make_report(
    store: TokenStore,
    pieces: Sequence[Piece],
    name: str,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
    preprocess: PreprocessConfig | None = None,
) -> dict[str, Any]:
    """Count everything in a prepared corpus.

    Args:
        store: the prepared corpus.
        pieces: where its pieces come from (``list_pieces`` of the same settings).
        name: what the corpus is called.
        workers: processes; None is one a core.
        on_progress: told (pieces done, all pieces).
        limits: what was refused for its size when the corpus was prepared.
        preprocess: what was done to its scores; they are counted as they are after that.

    Returns:
        JSON types: ``name``, ``pieces`` (id, split, path; named by number everywhere else), ``counts``,
        ``quarantine``, ``repairs``, ``changes``, ``preprocess`` (its settings, where they change anything),
        ``preprocessed``, ``duplicates``, ``charts``, ``outliers``, ``findings``.

    Raises:
        AurlError: the pieces are not those of the store, or worker processes cannot start.
    """
    by_id = _by_unique_id(pieces)
    records = chosen(store)
    missing = [record.id for record in records if record.id not in by_id]
    if missing:
        raise AurlError(f"{missing[0]} is in the prepared corpus {store.folder} but not in the list of pieces")
    jobs = [by_id[record.id] for record in records]
    with_changes = any(store.meta.get("changes", {}).values())
    start = partial(_start_counting, store.tokenizer if with_changes else None, limits, preprocess)
    results: list[Counted | Failure] = []
    for result in in_order(work_through(jobs, start, workers or available_cores(), JOB_SECONDS, preload=[__name__])):
        results.append(result)
        if on_progress is not None:
            on_progress(len(results), len(jobs))
    return assemble(store, results, name, preprocess)


def assemble(
    store: TokenStore, results: Sequence[Counted | Failure], name: str, preprocess: PreprocessConfig | None = None
) -> dict[str, Any]:
    """The report of a store from what was counted in each of its pieces; see :func:`make_report`."""
    failed = [
        {"id": record.id, "path": record.path, "reason": result.reason}
        for record, result in zip(chosen(store), results, strict=True)
        if isinstance(result, Failure)
    ]
    kept = [(record, r) for record, r in zip(chosen(store), results, strict=True) if isinstance(r, Counted)]
    rows = [{**counted.statistics, "split": record.split, "tokens": record.tokens} for record, counted in kept]
    numbers = {record.id: number for number, (record, _) in enumerate(kept)}
    repairs = [(identity, kinds) for identity, kinds in _repairs(store) if identity in numbers]
    report: dict[str, Any] = {
        "version": REPORT_VERSION,
        "name": name,
        "pieces": [{"id": record.id, "split": record.split, "path": record.path} for record, _ in kept],
        "counts": _counts(rows, len(store.skipped) + len(failed), len(repairs)),
        "quarantine": _by_reason([*store.skipped, *failed]),
        "repairs": _by_kind(repairs, numbers),
        "changes": _by_kind([(record.id, counted.changes) for record, counted in kept], numbers),
        "preprocess": _settings(preprocess),
        "preprocessed": _by_kind([(record.id, counted.preprocessed) for record, counted in kept], numbers),
        "duplicates": near_duplicates([counted.signature for _, counted in kept], [row["split"] for row in rows]),
        "charts": charts(rows),
        "outliers": [outliers(measure, rows) for measure in measures_of(rows)],
    }
    report["findings"] = findings(report, rows)
    return report


def chosen(store: TokenStore) -> list[StoredPiece]:
    """The pieces that ``data.where`` leaves, in order."""
    return [store.pieces[number] for number in store.split(None)]


def _by_unique_id(pieces: Sequence[Piece]) -> dict[str, Piece]:
    """Pieces by the ids that they have in a prepared corpus, where of equal names all but the first get a number."""
    found: dict[str, Piece] = {}
    copies: dict[str, int] = {}
    for piece in pieces:
        found[unique_id(piece.id, found.__contains__, copies)] = piece
    return found


def _start_counting(
    tokenizer: dict[str, Any] | None, limits: ReadLimits, preprocess: PreprocessConfig | None
) -> Callable[[Piece], Counted]:
    """What a worker does with each piece."""
    codec = Codec.from_dict(tokenizer) if tokenizer is not None else None
    return lambda piece: count_piece(piece, codec, limits, preprocess)


def count_piece(
    piece: Piece,
    codec: Codec | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
    preprocess: PreprocessConfig | None = None,
) -> Counted:
    """Read a piece and count what is in it; with a codec, also what has to change for its vocabulary.

    With settings of preprocessing that change anything, the piece is counted as it is after that, with how far its
    notes moved and how it lay on its beats before.

    Raises:
        UnreadableFile: with the path and the reason.
    """
    score = load_reading(piece, limits).score
    signature = np.sort(np.fromiter(top_line_ngrams(score), dtype=np.uint64))
    done: dict[str, int] = {}
    measured: dict[str, float] = {}
    if preprocess is not None and _settings(preprocess):
        beats = beats_beside(piece.path) if companion_of(piece.path, preprocess) else None
        score, done, measures = preprocess_score(score, preprocess, beats)
        measured = {name: measures[key] for name, key in MEASURED.items() if key in measures}
    changes = codec.prepare_score(score)[1] if codec is not None else {}
    found = {kind: count for kind, count in changes.items() if count}
    return Counted(piece_statistics(score) | measured, signature, found, done)


def _settings(preprocess: PreprocessConfig | None) -> dict[str, Any]:
    """The settings of preprocessing that are not the default ones, in JSON types."""
    if preprocess is None:
        return {}
    default = PreprocessConfig()
    values = {f.name: getattr(preprocess, f.name) for f in fields(preprocess)}
    return {
        name: value.value if isinstance(value, Enum) else value
        for name, value in values.items()
        if value != getattr(default, name)
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def _counts(rows: Sequence[Mapping[str, Any]], skipped: int, repaired: int) -> dict[str, Any]:
    """How much there is, in all and in each split."""
    total = {"skipped": skipped, "repaired": repaired}
    return {"all": _amount(rows) | total} | {
        split: _amount([row for row in rows if row["split"] == split]) for split in SPLITS
    }


def _amount(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pieces, notes, tokens and playing time."""
    return {
        "pieces": len(rows),
        "notes": sum(row["notes"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "hours": round(sum(row["seconds"] for row in rows) / SECONDS_PER_HOUR, 3),
    }


def _by_reason(skipped: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Files left out, by reason without its numbers, the commonest first."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in skipped:
        groups[_kind_of(row["reason"])].append({key: row[key] for key in ("id", "path", "reason")})
    listed = [{"reason": kind, "count": len(files), "files": files} for kind, files in groups.items()]
    return sorted(listed, key=lambda group: (-len(group["files"]), group["reason"]))


def _kind_of(reason: str) -> str:
    """A reason with N for each number, so that equal causes stand together."""
    return NUMBER.sub("N", reason)


def _repairs(store: TokenStore) -> list[tuple[str, dict[str, int]]]:
    """(id, kinds of repair with counts) of each repaired piece."""
    listing = store.folder / REPAIRED
    if not listing.is_file():
        return []
    rows = [json.loads(line) for line in listing.read_text(encoding="utf-8").split("\n") if line]
    return [(row["id"], row["repairs"]) for row in rows]


def _by_kind(rows: Sequence[tuple[str, Mapping[str, int]]], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Kinds of what was done to pieces: how often, and to which, the commonest first."""
    totals: Counter[str] = Counter()
    pieces: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for identity, counts in rows:
        for kind, count in counts.items():
            totals[kind] += count
            pieces[kind].append((count, numbers[identity]))
    return [
        {"kind": kind, "count": count, "pieces": [n for _, n in sorted(pieces[kind], key=lambda p: (-p[0], p[1]))]}
        for kind, count in sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    ]
