"""One function for each thing that can be asked of latents: it does the work and says what there is to write.

What is computed is latent_tools.py and latent_editing.py, pictures latent_pictures.py, files and the page
latent_export.py. Axes: B bars, A attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aurl.generation.generator import Sample
from aurl.generation.latent_editing import EditSession
from aurl.generation.latent_export import Numbers, Outcome, Picture, Shown
from aurl.generation.latent_pictures import Curve, attribute_picture, grid_picture, map_picture
from aurl.generation.latent_piece import Floats, LatentPiece
from aurl.generation.latent_search import SliderSearch
from aurl.generation.latent_tools import LatentTools, check_bars
from aurl.music.attributes import ATTRIBUTES, UNITS
from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

log = get_logger("generation.latent_outcomes")

LEAST_FOR_MAP = 3
"""Bars from which a map says something."""
MOST_CURVES = 12
DIGITS = 3


def encoded(tools: LatentTools, pieces: Sequence[LatentPiece]) -> Outcome:
    """Latents as files, with the music they were made of."""
    stems = file_stems([piece.name for piece in pieces])
    shown = [
        Shown(stem, piece.name, original(tools, piece), {"bars": piece.bars})
        for stem, piece in zip(stems, pieces, strict=True)
    ]
    return Outcome(
        "Latents",
        f"Latents of {len(pieces)} pieces, {sum(piece.bars for piece in pieces)} bars.",
        shown,
        [*_attribute_curves([Curve(piece.name, piece.attributes) for piece in pieces]), *_map(pieces)],
        latents=dict(zip(stems, pieces, strict=True)),
    )


def decoded(tools: LatentTools, pieces: Sequence[LatentPiece]) -> Outcome:
    """Music of latents alone."""
    samples = [tools.reconstruct(piece) for piece in pieces]
    stems = file_stems([piece.name for piece in pieces])
    curves = [
        Curve(piece.name, _heard(tools, sample, piece.bars)) for piece, sample in zip(pieces, samples, strict=True)
    ]
    shown = [Shown(stem, piece.name, sample) for stem, piece, sample in zip(stems, pieces, samples, strict=True)]
    return Outcome("From latents", f"{len(pieces)} pieces written from latents.", shown, _attribute_curves(curves))


def reconstructed(tools: LatentTools, pieces: Sequence[LatentPiece]) -> Outcome:
    """Originals beside what their latents say of them."""
    shown, curves, rows = [], [], []
    for stem, piece in zip(file_stems([piece.name for piece in pieces]), pieces, strict=True):
        again = tools.reconstruct(piece)
        heard = _heard(tools, again, piece.bars)
        shown.append(Shown(f"{stem}_original", f"{piece.name}, original", original(tools, piece)))
        shown.append(Shown(f"{stem}_again", f"{piece.name}, from its latents", again))
        curves.append(Curve(f"{piece.name}, original", piece.attributes, dashed=True))
        curves.append(Curve(f"{piece.name}, again", heard))
        same = token_agreement(piece.tokens, again.ids)
        log.info("%s: %.1f %% of its tokens stand at their place again", piece.name, 100 * same)
        rows.append((piece.name, piece.bars, f"{same:.3f}", *_means(piece.attributes, heard)))
    heads = ("piece", "bars", "tokens at their place", *(f"{name}: original, again" for name in ATTRIBUTES))
    return Outcome(
        "Reconstructions",
        "Each piece and what is written from the latents of its bars alone.",
        shown,
        _attribute_curves(curves),
        [Numbers("Means over bars", heads, rows)],
    )


def interpolated(tools: LatentTools, first: LatentPiece, second: LatentPiece, steps: int) -> Outcome:
    """The way from one piece to another, bar by bar."""
    way = tools.way(first, second, steps)
    samples = tools.decode(way)
    heard = [_heard(tools, sample, way.shape[1]) for sample in samples]
    title = f"From {first.name} to {second.name}"
    shares = np.linspace(0, 1, steps)
    shown = [
        Shown(f"step_{number:02d}", f"{share:.0%} {second.name}", sample)
        for number, (share, sample) in enumerate(zip(shares, samples, strict=True), start=1)
    ]
    means = np.array([_mean(rows) for rows in heard])
    steps_curves = [Curve(each.title, rows) for each, rows in zip(shown, heard, strict=True)][:MOST_CURVES]
    pictures = [
        Picture(
            "attributes", "Means over bars, step by step", partial(attribute_picture, [Curve(title, means)], "step")
        ),
        Picture(
            "bars",
            "Bar by bar",
            partial(attribute_picture, steps_curves),
        ),
    ]
    rows = [(f"{share:.2f}", *_rounded(row)) for share, row in zip(shares, means, strict=True)]
    return Outcome(
        title,
        f"{steps} pieces of {way.shape[1]} bars on the straight way between the latents of each bar.",
        shown,
        pictures,
        [Numbers("Means over bars", ("share of the second", *ATTRIBUTES), rows)],
    )


def slid(
    tools: LatentTools,
    pieces: Sequence[LatentPiece],
    sliders: Mapping[str, float],
    bars: Sequence[int] | None,
    tries: int = 1,
) -> Outcome:
    """Pieces with dimensions moved, beside what their latents say unmoved; with more tries, the best of so many."""
    search = None if tries == 1 else SliderSearch(tools, sliders, tries)
    moves = ", ".join(f"{name.replace('_', ' ')} {amount:+g}" for name, amount in sliders.items())
    shown, curves, rows = [], [], []
    for stem, piece in zip(file_stems([piece.name for piece in pieces]), pieces, strict=True):
        check_bars(bars or (), piece)
        latents = tools.check(piece).bar_latents
        if search is None:
            before, after = tools.decode(np.stack([latents, tools.slid(latents, sliders, bars)]))
        else:
            before, after = tools.reconstruct(piece), search.slide(piece, bars)
        log.info(
            "%s: written from its latents alone, which bring back %.1f %% of its tokens%s",
            piece.name,
            100 * token_agreement(piece.tokens, before.ids),
            ""
            if bars is None or max(bars) == piece.bars
            else f"; bars after {max(bars)} go on from what is moved (replace leaves all other bars as they are)",
        )
        heard = [_heard(tools, sample, piece.bars) for sample in (before, after)]
        shown += [
            Shown(f"{stem}_again", f"{piece.name}, from its latents", before),
            Shown(f"{stem}_moved", f"{piece.name}, {moves}", after),
        ]
        curves += [Curve(f"{piece.name}, unmoved", heard[0], dashed=True), Curve(f"{piece.name}, {moves}", heard[1])]
        chosen = slice(None) if bars is None else [bar - 1 for bar in bars]
        rows.append((piece.name, *_means(heard[0][chosen], heard[1][chosen])))
    where = "all bars" if bars is None else f"bars {', '.join(map(str, bars))}"
    return Outcome(
        f"Moved: {moves}",
        f"Latents of {where} moved by standard deviations of the training data: {moves}."
        + ("" if search is None else f" Each of these bars is the nearest to that of {tries} tries."),
        shown,
        _attribute_curves(curves),
        [Numbers(f"Means over {where}", ("piece", *(f"{name}: unmoved, moved" for name in ATTRIBUTES)), rows)],
    )


def replaced(
    tools: LatentTools,
    piece: LatentPiece,
    bars: Sequence[int],
    latents: Sequence[Floats],
    source: str,
    search: SliderSearch | None = None,
) -> Outcome:
    """A piece with some bars written anew from other latents, all other notes kept.

    Args:
        tools: of the checkpoint.
        piece: what is edited.
        bars: numbers of the bars, from 1, rising.
        latents: ``(len(bars), Z)`` for each version.
        source: where they come from, in words.
        search: finds the latents of a version itself.
    """
    shown = [Shown("original", f"{piece.name}, original", original(tools, piece))]
    curves = [Curve("original", piece.attributes, dashed=True)]
    where = ", ".join(map(str, bars))
    session = EditSession(tools, piece)
    held: dict[str, LatentPiece] = {}
    for number, rows in enumerate(latents, start=1):
        seed = tools.seed + number - 1
        edit = session.replace(bars, rows, seed) if search is None else search.replace(session, bars)
        shown.append(Shown(f"version_{number:02d}", f"{piece.name}, version {number}", edit.sample, {"bars": where}))
        curves.append(Curve(f"version {number}", edit.piece.attributes))
        held[f"version_{number:02d}"] = edit.piece
        session.reset(piece)
    return Outcome(
        f"{piece.name} with bars {where} written anew",
        f"Bars {where} follow latents {source}; all other bars keep their notes.",
        shown,
        _attribute_curves(curves),
        latents=held,
    )


def traversed(
    tools: LatentTools,
    piece: LatentPiece,
    names: Sequence[str],
    values: Sequence[float],
    bars: Sequence[int] | None,
) -> Outcome:
    """A grid: each dimension moved to each value."""
    samples = tools.traverse(piece, names, values, bars)
    heads = [f"{value:+g}" if value else "0" for value in values]
    shown, rows = [], []
    chosen = slice(None) if bars is None else [bar - 1 for bar in bars]
    for name, line in zip(names, samples, strict=True):
        means = [_mean(_heard(tools, sample, piece.bars)[chosen]) for sample in line]
        for number, (head, sample) in enumerate(zip(heads, line, strict=True), start=1):
            shown.append(Shown(f"{_stem(name)}_{number:02d}", f"{name.replace('_', ' ')} {head}", sample))
        if name in ATTRIBUTES:
            column = ATTRIBUTES.index(name)
            rows.append((f"{name} ({UNITS[column]})", *_rounded(np.array([mean[column] for mean in means]))))
    scores = [[sample.score for sample in line] for line in samples]
    tables = [Numbers("What is heard of the dimension moved", ("dimension", *heads), rows)] if rows else []
    return Outcome(
        f"Dimensions of {piece.name}",
        f"Each row moves one dimension of {'all' if bars is None else len(bars)} bars, in standard deviations of the "
        "training data.",
        shown,
        [
            Picture(
                "grid", "A row for each dimension, a column for each value", partial(grid_picture, scores, names, heads)
            )
        ],
        tables,
    )


def mapped(tools: LatentTools, pieces: Sequence[LatentPiece]) -> Outcome:
    """All bars on a plane."""
    for piece in pieces:
        tools.check(piece)
    bars = sum(piece.bars for piece in pieces)
    if bars < LEAST_FOR_MAP:
        raise AurlError(f"a map needs {LEAST_FOR_MAP} bars or more, these pieces have {bars}; name more of them")
    return Outcome("Map of bars", f"{bars} bars of {len(pieces)} pieces.", pictures=_map(pieces))


# -- parts -------------------------------------------------------------------------------------------------------------


def original(tools: LatentTools, piece: LatentPiece) -> Sample:
    """A piece as its tokens have it."""
    score = tools.codec.decode(piece.tokens)
    notes = sum(len(track.notes) for track in score.tracks)
    return Sample(0, piece.tokens, score, tools.seed, True, notes, piece.bars)


def token_agreement(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Share of tokens that are the same at the same place, of the longer one's."""
    shorter, longer = sorted((len(first), len(second)))
    return float((np.asarray(first)[:shorter] == np.asarray(second)[:shorter]).sum() / max(longer, 1))


def file_stems(names: Sequence[str]) -> list[str]:
    """Names of pieces as names of files, each once."""
    taken: dict[str, int] = {}
    stems = []
    for name in names:
        stem = _stem(name)
        taken[stem] = taken.get(stem, 0) + 1
        stems.append(stem if taken[stem] == 1 else f"{stem}_{taken[stem]}")
    return stems


def _stem(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "piece"


def _heard(tools: LatentTools, sample: Sample, bars: int) -> Floats:
    return tools.attributes_of(sample.score, bars)


def _mean(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over the bars that have a value (A,), NaN where none has."""
    counts = (~np.isnan(rows)).sum(axis=0)
    means: NDArray[np.float64] = np.full(rows.shape[1], np.nan)
    return np.divide(np.nansum(rows, axis=0), counts, out=means, where=counts > 0)


def _means(first: Floats, second: Floats) -> list[str]:
    pairs = zip(_rounded(_mean(first)), _rounded(_mean(second)), strict=True)
    return [f"{one}, {other}" for one, other in pairs]


def _rounded(values: NDArray[np.floating]) -> list[str]:
    return ["none" if np.isnan(value) else f"{value:.{DIGITS}g}" for value in values]


def _attribute_curves(curves: Sequence[Curve]) -> list[Picture]:
    return [Picture("attributes", "What is heard, bar by bar", partial(attribute_picture, curves[:MOST_CURVES]))]


def _map(pieces: Sequence[LatentPiece]) -> list[Picture]:
    latents = np.concatenate([piece.bar_latents for piece in pieces])
    if len(latents) < LEAST_FOR_MAP:
        return []
    attributes = np.concatenate([piece.attributes for piece in pieces])
    owners = np.repeat(np.arange(len(pieces)), [piece.bars for piece in pieces])
    names = [piece.name for piece in pieces]
    caption = "Bars on the plane in which their latents differ most, coloured by what is heard in them"
    return [Picture("map", caption, partial(map_picture, latents, attributes, owners, names))]
