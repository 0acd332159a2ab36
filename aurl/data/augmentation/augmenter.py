"""Which segment of a batch gets which augmentation, and their application in order.

Every draw belongs to a piece and an epoch: all segments of a piece are transposed alike. Token-space augmentation
(tables.py) is one gather for the batch; what moves notes in time goes through rows (rows.py, rhythm.py) for the
segments that drew it. Axis legend: N tokens, S segments, P pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aurl.data.augmentation.config import STRAIGHT, AugmentConfig, KindConfig, StretchOf, SwingUnit
from aurl.data.augmentation.draws import Keys, hashed, normals, piece_keys, uniforms
from aurl.data.augmentation.rhythm import Bars, Notes, jitter, swing
from aurl.data.augmentation.rows import NOTE, RowCodec, Rows, track_ranks
from aurl.data.augmentation.segments import Segments
from aurl.data.augmentation.stretching import stretch_rows
from aurl.data.augmentation.tables import TokenTables, Transposer, widest
from aurl.data.kinds import Form
from aurl.data.vocabulary import QUARTERS_PER_WHOLE, Kind, Vocabulary
from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

log = get_logger(__name__)

EVENNESS = 1.4
"""In performances whose bars are a clock, the most frequent place within a beat has fewer onsets than this multiple of
an even share. On a grid of 8, 99 of 100 pieces of ASAP have that, none of POP909 and JSB, whose beats are real.
"""
FINEST_WRITTEN = 6
"""Positions a beat below which written music too may use all of them evenly, so that nothing can be told."""
UNKNOWN = 0
"""What is not known yet of a piece; what is known is kept as one more than it is."""
PERFORMED, ALIGNED = "performed", "off_grid_share_aligned"
"""Facts of a piece: whether the bars of its file are a clock; there only if its notes were moved to annotated beats."""
LEAST_PAIR = 4
"""Positions of the smallest pair that can swing at all."""
LOUDEST = 127

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Draw(IntEnum):
    """What a random number is for."""

    SHIFT_IF, SHIFT, STRETCH_IF, STRETCH, PHASE, VELOCITY_IF, VELOCITY = range(7)
    SUBSTITUTE_IF, SUBSTITUTE, SWING_IF, SWING, HUMANIZE_IF, TIMING, LOUDNESS, CUT = range(7, 15)


class Recipes(NamedTuple):
    """What each segment gets, each (S,)."""

    keys: Keys
    shift: IntArray
    """Semitones."""
    stretch: FloatArray
    """New duration as a multiple of the old one; 1 changes nothing."""
    velocity: FloatArray
    """New velocity as a multiple of the old one, before the limit that the loudest note sets; 1 changes nothing."""
    substitute: BoolArray
    swing: FloatArray
    """Share of a pair that its first note takes; 0.5 changes nothing."""
    humanize: BoolArray

    def take(self, chosen: IntArray) -> Recipes:
        """Those of some segments."""
        columns: list[Any] = [column[chosen] for column in self]
        return Recipes(*columns)


class Augmented(NamedTuple):
    """An augmented batch."""

    segments: Segments
    shift: IntArray
    """Semitones by which each segment was transposed (S,)."""
    stretch: FloatArray
    """Factor of each segment's times in quarters (S,); 1 where only the tempo changed."""
    changed: BoolArray
    """Which segments differ from the stored ones (S,)."""


class Augmenter:
    """Augments batches of one corpus.

    Args:
        config: what may happen.
        vocabulary: meaning of the ids.
        extents: lowest and highest pitch of every piece of the corpus, -1 for drums, each (P,).
        numbers: indices of the pieces that may come: the widest range of these is the range that transposition keeps.
        read: gives the stored tokens of a piece, BOS to EOS.
        seed: with epoch and piece, decides every draw.
        facts: what the manifest says of a piece; its ``performed``, measured in the file, is taken where it is there.

    Raises:
        AurlError: an augmentation needs tokens that the tokenizer does not have.
    """

    def __init__(
        self,
        config: AugmentConfig,
        vocabulary: Vocabulary,
        extents: tuple[npt.ArrayLike, npt.ArrayLike],
        numbers: npt.ArrayLike,
        read: Callable[[int], npt.NDArray[np.integer]],
        seed: int,
        facts: Callable[[int], Mapping[str, Any]] | None = None,
    ) -> None:
        check_tokens(config, vocabulary)
        self.config, self.vocabulary, self.seed = config, vocabulary, seed
        self._read, self._facts = read, facts
        self.guessed = 0
        """Pieces of which the manifest does not say whether they are performed, so that their tokens decided."""
        self._low, self._high = (np.asarray(pitches) for pitches in extents)
        low, high = config.transpose.semitones
        corpus = widest(self._low, self._high, np.asarray(numbers))
        self.transposer = Transposer.of(vocabulary, low, high, corpus)
        self._tables, self._rows = TokenTables(vocabulary), RowCodec(vocabulary)
        is_velocity = vocabulary.kind == Kind.VELOCITY
        self._velocity = np.where(is_velocity, vocabulary.value, 0).astype(np.uint8)
        step = vocabulary.positions_per_beat
        self._place = np.where(vocabulary.kind == Kind.POSITION, vocabulary.value % step, step).astype(np.uint8)
        # What a whole piece must be read for, kept once it is known: 2 bytes a piece.
        self._loudest_known = np.zeros(len(self._low), np.uint8)
        self._performed_known = np.zeros(len(self._low), np.uint8)

    # -- what is drawn ------------------------------------------------------------------------------------------------

    def recipes(self, pieces: npt.ArrayLike, epoch: int, share: float) -> Recipes:
        """What pieces get in an epoch; a pure function of (seed, epoch, piece) and of the schedules.

        Args:
            pieces: indices in the store (S,).
            epoch: number of the epoch.
            share: share of training done, for the schedules.
        """
        config = self.config
        pieces = np.asarray(pieces)
        keys = piece_keys(self.seed, epoch, pieces)
        overall = config.schedule(share)

        def part(purpose: Draw, settings: KindConfig) -> BoolArray:
            return uniforms(hashed(keys, purpose)) < settings.probability * settings.schedule(share) * overall

        def between(purpose: Draw, bounds: Sequence[float], where: BoolArray, neutral: float) -> FloatArray:
            low, high = bounds
            return np.where(where, low + (high - low) * uniforms(hashed(keys, purpose)), neutral)

        low, high = self.transposer.allowed_all(self._low[pieces], self._high[pieces])
        shift = low + (uniforms(hashed(keys, Draw.SHIFT)) * (high + 1 - low)).astype(np.int64)
        stretch, velocity = config.stretch, config.velocity
        return Recipes(
            keys=keys,
            shift=np.where(part(Draw.SHIFT_IF, config.transpose), shift, 0),
            stretch=between(Draw.STRETCH, stretch.factor, part(Draw.STRETCH_IF, stretch), 1.0),
            velocity=between(Draw.VELOCITY, velocity.factor, part(Draw.VELOCITY_IF, velocity), 1.0),
            substitute=part(Draw.SUBSTITUTE_IF, config.substitute),
            swing=between(Draw.SWING, config.swing.ratio, part(Draw.SWING_IF, config.swing), STRAIGHT),
            humanize=part(Draw.HUMANIZE_IF, config.humanize),
        )

    # -- application --------------------------------------------------------------------------------------------------

    def __call__(self, batch: Segments, recipes: Recipes) -> Augmented:
        """Apply recipes.

        Args:
            batch: the stored tokens.
            recipes: one for each segment.
        """
        moving = (recipes.stretch != 1.0) | (recipes.swing != STRAIGHT) | recipes.humanize
        performed = self.performed(batch.piece, (recipes.stretch != 1.0) | (recipes.swing != STRAIGHT))
        readable = np.array(
            [
                moves and self._rows.readable(ids)
                for moves, ids in zip(moving, np.split(batch.ids, np.cumsum(batch.lengths)[:-1]), strict=True)
            ]
        )
        notes_stretch = (recipes.stretch != 1.0) & self._stretches_notes(performed) & readable & self._one_metre(batch)
        renamed = self._rename(batch, recipes, np.where(notes_stretch, 1.0, recipes.stretch))
        if self.config.humanize.velocity:
            self._jitter_velocities(renamed, recipes)
        swing_ratio = np.where(performed, STRAIGHT, recipes.swing)
        timing = recipes.humanize & (self.config.humanize.timing > 0)
        in_time = np.flatnonzero(readable & (notes_stretch | (swing_ratio != STRAIGHT) | timing))
        result = renamed
        factors = np.where(notes_stretch, recipes.stretch, 1.0)
        if len(in_time):
            chosen = recipes._replace(stretch=factors, swing=swing_ratio, humanize=timing).take(in_time)
            result = renamed.replace(in_time, self._move(renamed.select(in_time), chosen))
        return Augmented(result, recipes.shift, factors, _differs(batch, result))

    def performed(self, pieces: IntArray, asked: BoolArray) -> BoolArray:
        """Which pieces are performances whose bars are a clock, as preprocessing measured it in their files.

        A piece that was aligned to annotated beats has real bars. Where the manifest says nothing, the tokens decide:
        one tempo, and onsets spread evenly over the beat. False where not ``asked``.
        """
        known = np.zeros(len(pieces), bool)
        for number in np.flatnonzero(asked).tolist():
            piece = int(pieces[number])
            if self._performed_known[piece] == UNKNOWN:
                self._performed_known[piece] = 1 + self._find_out(piece)
            known[number] = self._performed_known[piece] - 1
        return known

    def _find_out(self, piece: int) -> bool:
        facts = self._facts(piece) if self._facts is not None else {}
        if ALIGNED in facts:
            return False
        if PERFORMED in facts:
            return bool(facts[PERFORMED])
        if not self.guessed:
            log.info("the manifest does not say which pieces are performed; what their tokens look like decides")
        self.guessed += 1
        return self._is_performed(self._read(piece))

    def _is_performed(self, ids: npt.NDArray[np.integer]) -> bool:
        step = self.vocabulary.positions_per_beat
        if step < FINEST_WRITTEN or np.count_nonzero(self.vocabulary.kind[ids] == Kind.TEMPO) > 1:
            return False
        onsets = np.bincount(self._place[ids], minlength=step + 1)[:step]
        return int(onsets.max()) * step < EVENNESS * int(onsets.sum())

    def loudest(self, pieces: IntArray, asked: BoolArray) -> IntArray:
        """Highest velocity of each piece; 0 where not ``asked``."""
        known = np.zeros(len(pieces), np.int64)
        for number in np.flatnonzero(asked).tolist():
            piece = int(pieces[number])
            if self._loudest_known[piece] == UNKNOWN:
                self._loudest_known[piece] = 1 + self._velocity[self._read(piece)].max()
            known[number] = self._loudest_known[piece] - 1
        return known

    def _stretches_notes(self, performed: BoolArray) -> BoolArray:
        of = self.config.stretch.of
        return performed if of is StretchOf.auto else np.full(len(performed), of is StretchOf.notes)

    def _one_metre(self, batch: Segments) -> BoolArray:
        """Whether the metre stays the same in each segment."""
        metre = np.where(self.vocabulary.kind[batch.ids] == Kind.TIMESIG, batch.ids, -1)
        highest = np.maximum.reduceat(metre, batch.starts)
        lowest = np.minimum.reduceat(np.where(metre < 0, self.vocabulary.size, metre), batch.starts)
        return np.asarray(highest == lowest)

    def _rename(self, batch: Segments, recipes: Recipes, stretch: FloatArray) -> Segments:
        """Everything that only renames tokens."""
        if not (recipes.shift.any() or recipes.substitute.any() or (np.stack([stretch, recipes.velocity]) != 1).any()):
            return replace(batch, ids=batch.ids.copy())
        tables = self._tables.plain(len(batch.lengths))
        if recipes.shift.any():
            self._tables.transpose(tables, self.transposer, recipes.shift)
        if (stretch != 1.0).any():
            self._tables.stretch(tables, stretch)
        if (recipes.velocity != 1.0).any():
            most = LOUDEST / np.maximum(self.loudest(batch.piece, recipes.velocity > 1.0), 1)
            self._tables.scale_velocities(tables, np.minimum(recipes.velocity, np.maximum(most, 1.0)))
        if recipes.substitute.any():
            self._tables.substitute(tables, hashed(recipes.keys, Draw.SUBSTITUTE), recipes.substitute)
        ids = tables.ravel().take(batch.segment * self.vocabulary.size + batch.ids)
        return replace(batch, ids=ids)

    def _jitter_velocities(self, batch: Segments, recipes: Recipes) -> None:
        """A deviation for each velocity token, hashed from its place in the piece; in place."""
        at = np.flatnonzero((self._velocity[batch.ids] > 0) & np.repeat(recipes.humanize, batch.lengths))
        if not len(at):
            return
        keys = hashed(hashed(recipes.keys, Draw.LOUDNESS)[batch.segment[at]], batch.source[at])
        wanted = self._velocity[batch.ids[at]] + self.config.humanize.velocity * normals(keys)
        batch.ids[at] = self._tables.velocities.nearest(wanted)

    # -- notes in time ------------------------------------------------------------------------------------------------

    def _move(self, batch: Segments, recipes: Recipes) -> Segments:
        """Stretch, swing and humanise: tokens to rows, rows moved, rows to tokens."""
        longer = np.flatnonzero(recipes.stretch != 1.0)
        if len(longer):
            part = self._through_rows(batch.select(longer), recipes.take(longer), self._stretch)
            batch = batch.replace(longer, part)
        played = np.flatnonzero((recipes.swing != STRAIGHT) | recipes.humanize)
        if len(played):
            part = self._through_rows(batch.select(played), recipes.take(played), self._play)
            batch = batch.replace(played, part)
        return batch

    def _through_rows(
        self, batch: Segments, recipes: Recipes, change: Callable[[Rows, IntArray, Recipes], Rows]
    ) -> Segments:
        rows = self._rows.read(batch.ids, batch.lengths, batch.bar, batch.beat.astype(np.float64))
        rank_of_track = track_ranks(rows)
        rows = change(rows, batch.ids, recipes)
        tokens = self._rows.write(batch.ids, rows, rank_of_track, len(batch.lengths))
        return replace(
            batch,
            ids=tokens.ids,
            source=batch.source[tokens.origin],
            bar=tokens.bar,
            beat=tokens.beat.astype(np.float32),
            lengths=tokens.lengths,
        )

    def _stretch(self, rows: Rows, ids: IntArray, recipes: Recipes) -> Rows:
        return stretch_rows(rows, ids, recipes.stretch, uniforms(hashed(recipes.keys, Draw.PHASE)), self.vocabulary)

    def _play(self, rows: Rows, ids: IntArray, recipes: Recipes) -> Rows:
        self._swing(rows, recipes)
        self._humanize(rows, recipes)
        return rows

    def _bars(self, rows: Rows) -> Bars:
        length = self._rows.bar_positions(rows)
        last = np.searchsorted(rows.bar_segment, rows.bar_segment, side="right") - 1
        return Bars(np.cumsum(length) - length, length, last)

    def _swing(self, rows: Rows, recipes: Recipes) -> None:
        """Bars whose beat is a quarter or a half swing; in x/8 and x/16 the beat is no pair of eighths."""
        per_quarter = self._rows.positions_per_quarter(rows)
        denominator = self.vocabulary.denominator[rows.bar_metre]
        pair = per_quarter if self.config.swing.unit is SwingUnit.eighth else per_quarter / 2
        fits = (denominator <= QUARTERS_PER_WHOLE) & (pair >= LEAST_PAIR) & (pair % 2 == 0)
        ratio = recipes.swing[rows.bar_segment]
        swung = np.where(fits & (ratio != STRAIGHT), pair, 0).astype(np.int64)
        at, notes = _notes(rows)
        moved = swing(notes, self._bars(rows), swung, ratio)
        rows.position[at], rows.duration[at] = moved.position, moved.duration

    def _humanize(self, rows: Rows, recipes: Recipes) -> None:
        at, notes = _notes(rows)
        segment = rows.bar_segment[notes.bar]
        keys = hashed(hashed(recipes.keys, Draw.TIMING)[segment], rows.bar_number[notes.bar])
        keys = hashed(hashed(keys, notes.position), notes.track % self.vocabulary.size)
        deviation = normals(keys) * self.config.humanize.timing * self._rows.positions_per_quarter(rows)[notes.bar]
        deviation = np.where(recipes.humanize[segment], deviation, 0.0)
        rows.position[at] = jitter(notes, self._bars(rows), deviation).position


def check_tokens(config: AugmentConfig, vocabulary: Vocabulary) -> None:
    """Refuse what a tokenizer has no tokens for.

    Raises:
        AurlError: names the augmentation and the tokens.
    """
    grid = (Kind.BAR, Kind.TIMESIG, Kind.POSITION, Kind.VELOCITY, Kind.DURATION)
    needs = {
        "transpose": (config.transpose.probability > 0 and any(config.transpose.semitones), (Kind.PITCH,)),
        "velocity": (config.velocity.probability > 0, (Kind.VELOCITY,)),
        "substitute": (config.substitute.probability > 0, (Kind.PROGRAM,)),
        "stretch": (
            config.stretch.probability > 0,
            grid if config.stretch.of is StretchOf.notes else (Kind.TEMPO,),
        ),
        "swing": (config.swing.probability > 0, grid),
        "humanize": (config.humanize.probability > 0, grid),
    }
    present = set(np.unique(vocabulary.kind).tolist())
    drums_only = Kind.PITCH_DRUM in present
    for name, (wanted, kinds) in needs.items():
        missing = [kind.name for kind in kinds if kind not in present and not (kind is Kind.PITCH and drums_only)]
        if wanted and kinds is grid and not missing and vocabulary.form is not Form.bars:
            raise AurlError(
                f"augment.{name} moves notes in time, which works with tokenizer=remi only; "
                f"set augment.{name}.probability=0"
            )
        if wanted and missing:
            raise AurlError(
                f"augment.{name} needs {' and '.join(missing)} tokens, which this tokenizer does not have; "
                f"set augment.{name}.probability=0 or use tokenizer=remi"
            )


def _notes(rows: Rows) -> tuple[IntArray, Notes]:
    """Indices of the notes among the rows, and the notes."""
    at = np.flatnonzero(rows.kind == NOTE)
    return at, Notes(rows.bar[at], rows.position[at], rows.duration[at], rows.track[at])


def _differs(before: Segments, after: Segments) -> BoolArray:
    """Which segments are no longer the same tokens."""
    if len(before.ids) == len(after.ids) and (before.lengths == after.lengths).all():
        return np.logical_or.reduceat(before.ids != after.ids, before.starts)
    pairs = zip(*(np.split(each.ids, np.cumsum(each.lengths)[:-1]) for each in (before, after)), strict=True)
    return np.array([not np.array_equal(old, new) for old, new in pairs])
