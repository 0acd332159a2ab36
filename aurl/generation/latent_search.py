"""Sliders that are checked by listening: a bar is written in several ways, and the one nearest to the wish is kept.

Latents say what a bar shall be like, and a decoder does not always do it (experiments/latent). A bar that sliders have
moved is therefore written ``tries`` times at once: in turn along the routes of the sliders and along the named
dimensions alone, as far as asked and farther, and with noise in the dimensions that have no name. Routes are obeyed
more surely, named dimensions alone change less of the rest. Each is measured as the attributes of
training were (aurl/music/attributes.py), and with standard deviations s of training, attributes w that are wanted and a
that are heard, the least

    MOVED * mean over moved attributes of |a - w| / s  +  mean over all others of |a - w| / s

wins, the earlier one if two are alike; a bar in which a moved attribute cannot be heard counts as worse than any in
which it can, and one in another metre (:data:`OTHER_METRE`) as worse than any in the bar's own. What is wanted of a
moved attribute is what the bar has, and as much more or less as bars of training have there (:meth:`Routes.heard_at`);
of all others, what the bar has. This is a search at the time of writing, as in best-of-n sampling: it makes a slider do
what its name says as far as the decoder can write it.

Axes: N tries, Z latent of a bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aurl.data.kinds import Form, Kind
from aurl.generation.config import FARTHEST
from aurl.generation.generator import Sample
from aurl.generation.latent_editing import Edit, EditSession
from aurl.generation.latent_piece import Floats, LatentPiece
from aurl.generation.latent_routes import VARIES, Routes, needs_routes
from aurl.generation.latent_tools import LatentTools, check_bars
from aurl.generation.prompt import first_bars
from aurl.generation.steered import Reading
from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

log = get_logger("generation.latent_search")

MOVED = 4.0
"""How much a moved attribute weighs against all others together."""
UNDEFINED = 2.0
"""Deviations that an attribute counts as missed by where it is wanted and cannot be heard; a moved one by so many more
than in the worst try in which it can.
"""
STRENGTHS = (1.0, 1.5, 2.0)
"""How far along its routes a try goes, in turn."""
NOISES = (0.15, 0.3, 0.45, 0.6)
"""Noise of tries in the dimensions without a name, in standard deviations of training, in turn."""
OTHER_METRE = 100.0
"""Added to the distance of a bar that is in another metre than the bar it stands for: only chosen if all are."""


class Aim(NamedTuple):
    """What a bar shall be like; all ``(8,)``."""

    wanted: NDArray[np.float64]
    """Attributes; NaN where nothing is wanted."""
    moved: NDArray[np.bool_]
    """Which of them sliders move."""
    scale: NDArray[np.float64]
    """Standard deviations of training; 0 where an attribute never varies and does not count."""

    def distance(self, heard: NDArray[np.floating]) -> NDArray[np.float64]:
        """How far attributes ``(..., 8)`` are from it ``(...)``."""
        counts = ~np.isnan(self.wanted) & (self.scale > VARIES)
        off = np.abs(heard - self.wanted) / np.where(counts, self.scale, 1.0)
        worst = np.nanmax(off[..., self.moved], initial=0.0)
        off = np.where(np.isnan(off), np.where(self.moved, worst, 0.0) + UNDEFINED, off)
        distance: NDArray[np.float64] = np.zeros(off.shape[:-1])
        for chosen, weight in ((counts & self.moved, MOVED), (counts & ~self.moved, 1.0)):
            if chosen.any():
                distance = distance + weight * off[..., chosen].mean(axis=-1)
        return distance


class SliderSearch:
    """Writes bars whose sliders have moved.

    Args:
        tools: of a checkpoint, with routes.
        sliders: name of a dimension -> by how many standard deviations of the training data.
        tries: ways in which each bar is written.

    Raises:
        AurlError: no routes, fewer than one try, no slider that can be heard, or a tokenizer without bars.

    Example:
        >>> search = SliderSearch(tools, {"syncopation": 1.5}, tries=16)  # doctest: +SKIP
        >>> search.slide(song).score.dump_midi("syncopated.mid")  # doctest: +SKIP
    """

    def __init__(self, tools: LatentTools, sliders: Mapping[str, float], tries: int) -> None:
        if tries < 1:
            raise AurlError(f"tries={tries} is out of range; allowed: 1 or more")
        if tools.codec.vocabulary.form not in (Form.bars, Form.words):
            raise AurlError(
                f"tries={tries} writes bar by bar, which needs a tokenizer with Bar tokens (REMI, CPWord); set tries=1"
            )
        if tools.routes is None:
            raise needs_routes(tries)
        self.tools, self.sliders, self.tries = tools, dict(sliders), tries
        self.routes: Routes = tools.routes
        self.steps = {
            name: amount * float(tools.spread.deviation[tools.dimension(name)]) for name, amount in sliders.items()
        }
        audible = [name for name in self.routes.names if self.routes.is_heard(name)]
        if not set(sliders) & set(audible):
            raise AurlError(
                f"tries={tries} listens to what varies in the music of the routes, and {', '.join(sliders)} does not "
                f"or has no name; allowed: {', '.join(audible) or 'nothing'}, or set tries=1"
            )

    def candidates(self, latent: Floats, seed: int) -> Floats:
        """Latents of all tries ``(N, Z)`` for a bar's ``(Z,)``; the first is what a slider does without a search."""
        named = len(self.tools.model.config.attributes)
        full = self.tools.slid(latent[None], self.sliders)[0] - latent
        columns = [self.tools.dimension(name) for name in self.sliders]
        alone = np.zeros_like(full)
        alone[columns] = full[columns]
        nameless = [column for column in columns if column >= named]
        noise = np.random.default_rng(seed).standard_normal((self.tries, len(latent))).astype(np.float32)
        noise *= self.tools.spread.deviation
        noise[:, [*range(named), *nameless]] = 0
        largest = max(abs(amount) for amount in self.sliders.values())
        # No try goes farther than a slider may, unless the slider itself does.
        farthest = max(1.0, FARTHEST / max(largest, VARIES))
        ways = [full] if np.array_equal(alone, full) else [full, alone]
        shifts = list(ways)
        for number in range(len(ways), self.tries):
            turn, way = divmod(number, len(ways))
            strength, spread = min(STRENGTHS[turn % len(STRENGTHS)], farthest), NOISES[turn % len(NOISES)]
            shift = strength * ways[way] + spread * noise[number]
            shift[nameless] = full[nameless]  # nothing would notice if these went elsewhere
            shifts.append(shift)
        return latent + np.stack(shifts[: self.tries])

    def aim(self, latent: Floats, own: NDArray[np.floating]) -> Aim:
        """What a bar with a latent ``(Z,)`` and attributes ``(8,)`` shall become."""
        wanted = np.array(own, np.float64)
        moved = np.zeros(len(ATTRIBUTES), bool)
        for name, step in self.steps.items():
            if name not in self.routes.names:
                continue
            column, now = ATTRIBUTES.index(name), float(latent[self.tools.dimension(name)])
            there, here = self.routes.heard_at(name, now + step), self.routes.heard_at(name, now)
            wanted[column] = there if np.isnan(own[column]) else own[column] + there - here
            moved[column] = True
        return Aim(wanted, moved, self.routes.deviations.astype(np.float64))

    def slide(self, piece: LatentPiece, bars: Sequence[int] | None = None) -> Sample:
        """Write a piece again bar by bar, with sliders moved in ``bars`` (from 1; None: in all); moved bars always have
        a note.
        """
        tools = self.tools
        check_bars(bars or (), tools.check(piece))
        moved = range(1, piece.bars + 1) if bars is None else sorted(set(bars))
        tokens, latents = np.zeros(0, np.int64), piece.bar_latents.copy()
        reading = Reading(tools.model, tools.grammar(1), tokens, torch.from_numpy(latents))
        done = 0
        for bar in [*moved, piece.bars + 1]:
            if bar - 1 > done:  # one bar more than needed, because the last that is written always has a note
                sample = tools.write_bars(tokens, latents[None, :bar], reading)[0]
                tokens = first_bars(sample.ids, tools.codec.vocabulary, bar - 1)
                reading.edit(tools.codec.merge(tokens), torch.from_numpy(latents), done)
            if bar > piece.bars:
                break
            rows = self.candidates(latents[bar - 1], self._seed(bar))
            aim = self.aim(latents[bar - 1], piece.attributes[bar - 1])
            before = np.repeat(latents[None, : bar - 1], len(rows), axis=0)
            written = tools.write_bars(
                tokens, np.concatenate([before, rows[:, None]], axis=1), reading, self._seed(bar)
            )
            heard = [tools.attributes_of(each.score, bar)[bar - 1] for each in written]
            metres = [metre_of(tools, each.ids[len(tokens) :]) for each in written]
            chosen = self._nearest(piece, bar, aim, np.stack(heard), metres)
            sample, latents[bar - 1], done = written[chosen], rows[chosen], bar
            tokens = sample.ids
            reading.edit(tools.codec.merge(tokens), torch.from_numpy(latents), bar - 1)
        return sample

    def replace(self, session: EditSession, bars: Sequence[int]) -> Edit:
        """Write bars of a piece anew, one after the other, and accept the result; all others keep their notes."""
        for bar in bars:
            piece = session.piece
            rows = self.candidates(piece.bar_latents[bar - 1], self._seed(bar))
            aim = self.aim(piece.bar_latents[bar - 1], piece.attributes[bar - 1])
            edits = session.rewrite([bar], rows[:, None], self._seed(bar))
            heard = np.stack([edit.piece.attributes[bar - 1] for edit in edits])
            metres = [metre_of(self.tools, bar_tokens(self.tools, edit.piece, bar)) for edit in edits]
            edit = edits[self._nearest(piece, bar, aim, heard, metres)]
            session.accept(edit)
        return Edit(edit.piece, edit.sample, tuple(bars))

    def _nearest(
        self, piece: LatentPiece, bar: int, aim: Aim, heard: NDArray[np.floating], metres: list[list[int]]
    ) -> int:
        """Which try is kept; one line says what was wished and what is heard in it."""
        own = metre_of(self.tools, bar_tokens(self.tools, piece, bar))
        changed = np.array([metre != own for metre in metres])
        chosen = int(np.argmin(aim.distance(heard) + OTHER_METRE * changed))
        told = (
            f"{name} {heard[chosen, column]:.3g}, wished {aim.wanted[column]:.3g}, first try {heard[0, column]:.3g}"
            for column, name in enumerate(ATTRIBUTES)
            if aim.moved[column]
        )
        log.info("bar %d: %s", bar, "; ".join(told))
        return chosen

    def _seed(self, bar: int) -> int:
        """Of the first try of a bar; each try of each bar has a stream of its own."""
        return self.tools.seed + bar * self.tries


def bar_tokens(tools: LatentTools, piece: LatentPiece, bar: int) -> NDArray[np.int64]:
    """Base tokens of a bar of a piece, counted from 1."""
    return piece.tokens[len(tools.beginning(piece, bar)) : len(tools.beginning(piece, bar + 1))]


def metre_of(tools: LatentTools, bar: NDArray[np.integer]) -> list[int]:
    """The TimeSig tokens of a bar in base tokens ``(T,)``."""
    return [int(token) for token in bar if tools.codec.vocabulary.kind[token] == Kind.TIMESIG]
