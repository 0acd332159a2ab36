"""Small made-up pieces whose key, metre, chords and form are known exactly, for tests and for measuring studies.

``compose`` makes one piece from (seed, index): phrases of four bars over a functional chord progression, repeated as
the form says, with a melody that takes chord tones on the beat and steps between them, block or broken chords, a bass
and perhaps drums. The labels are what the piece was made from, so they are exact, not estimated. Notes are written by
:mod:`aurl.data.synth_parts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aurl.data.splits import assign_splits
from aurl.data.synth_parts import (
    BARS_IN_PHRASE,
    BASS_PROGRAM,
    CHORD_PROGRAMS,
    MELODY_PROGRAMS,
    METRE_CHANCES,
    METRES,
    PITCH_NAMES,
    ChordLabel,
    Event,
    make_phrase,
    make_progression,
)

if TYPE_CHECKING:
    from symusic.core import ScoreTick

    from aurl.data.config import DataConfig
    from aurl.data.sources import Piece

TICKS_PER_EIGHTH = 240
TICKS_PER_QUARTER = 2 * TICKS_PER_EIGHTH
SEED = 0
"""Seed of the pieces that list_synth gives."""

FORMS = ("AABA", "ABA", "AAB", "ABAB", "AABB", "ABAC")
TEMPI = (72, 144)
"""Lowest tempo and one above the highest, in quarters a minute."""
MAJOR_CHANCE, DRUMS_CHANCE, BROKEN_CHANCE = 0.6, 0.5, 0.4


@dataclass(frozen=True)
class SectionLabel:
    """One phrase of the form: its letter, and onset and duration in quarters. Equal letters are equal music."""

    letter: str
    onset: float
    duration: float


@dataclass(frozen=True, kw_only=True)
class SynthLabels:
    """Everything that is known of a made-up piece; times in quarters."""

    tonic: int
    mode: str
    metre: tuple[int, int]
    tempo: float
    form: str
    sections: tuple[SectionLabel, ...]
    chords: tuple[ChordLabel, ...]
    beat: float
    tracks: tuple[str, ...]

    @property
    def key(self) -> str:
        """The key, such as ``"F# minor"``."""
        return f"{PITCH_NAMES[self.tonic]} {self.mode}"

    @property
    def duration(self) -> float:
        """Length of the piece in quarters."""
        return self.sections[-1].onset + self.sections[-1].duration

    def chord_per_beat(self) -> list[ChordLabel]:
        """The chord of each beat: a quarter in 4/4 and 3/4, a dotted quarter in 6/8. Chords change only on beats."""
        return [chord for chord in self.chords for _ in range(round(chord.duration / self.beat))]


def list_synth(config: DataConfig) -> list[Piece]:
    """The first ``config.pieces`` pieces, labels as metadata, split by ``config.valid_share`` and ``test_share``."""
    from aurl.data.sources import Piece

    ids = [f"synth-{index:05d}" for index in range(config.pieces)]
    splits = assign_splits(ids, list(range(len(ids))), config.valid_share, config.test_share, config.split_seed)
    pieces = []
    for index, (name, split) in enumerate(zip(ids, splits, strict=True)):
        truth = compose(SEED, index)[1]
        metadata = {
            "title": f"Made-up piece {index}",
            "composer": "aurl",
            "key": truth.key,
            "meter": f"{truth.metre[0]}/{truth.metre[1]}",
            "form": truth.form,
            "licence": "MIT",
            "seed": SEED,
            "index": index,
        }
        pieces.append(Piece(id=name, split=split, path="", loader="synth", metadata=metadata))
    return pieces


def load(piece: Piece) -> ScoreTick:
    """Write the piece: tick score with the tracks Melody, Chords, Bass and perhaps Drums."""
    return compose(piece.metadata["seed"], piece.metadata["index"])[0]


def labels(piece: Piece) -> SynthLabels:
    """The exact labels of a piece."""
    return compose(piece.metadata["seed"], piece.metadata["index"])[1]


def compose(seed: int, index: int) -> tuple[ScoreTick, SynthLabels]:
    """Make one piece; the same numbers always give the same piece.

    Example:
        >>> score, truth = compose(0, 0)
        >>> truth.chord_per_beat()[0].root == truth.tonic
        True
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    tonic = int(rng.integers(12))
    mode = "major" if rng.random() < MAJOR_CHANCE else "minor"
    metre = METRES[rng.choice(len(METRES), p=METRE_CHANCES)]
    form = str(rng.choice(FORMS))
    tempo = float(rng.integers(*TEMPI))
    broken = rng.random() < BROKEN_CHANCE
    has_drums = rng.random() < DRUMS_CHANCE
    melody_program, chord_program = int(rng.choice(MELODY_PROGRAMS)), int(rng.choice(CHORD_PROGRAMS))
    names = ("Melody", "Chords", "Bass", "Drums") if has_drums else ("Melody", "Chords", "Bass")
    tracks: dict[str, list[Event]] = {name: [] for name in names}
    length = metre.bar * BARS_IN_PHRASE
    phrases = {}
    for letter in sorted(set(form)):
        chords = make_progression(rng, mode, tonic, metre, closes=letter in ("A", form[-1]))
        phrases[letter] = (chords, make_phrase(rng, chords, tonic, mode, metre, broken, has_drums))
    all_chords: list[ChordLabel] = []
    for number, letter in enumerate(form):
        start = number * length
        chords, parts = phrases[letter]
        all_chords += [
            ChordLabel(chord.onset + start / 2, chord.duration, chord.root, chord.quality, chord.roman)
            for chord in chords
        ]
        for name, events in parts.items():
            tracks[name] += [Event(event.onset + start, event.length, event.pitch, event.velocity) for event in events]
    truth = SynthLabels(
        tonic=tonic,
        mode=mode,
        metre=(metre.numerator, metre.denominator),
        tempo=tempo,
        form=form,
        sections=tuple(SectionLabel(letter, number * length / 2, length / 2) for number, letter in enumerate(form)),
        chords=tuple(all_chords),
        beat=metre.beat / 2,
        tracks=tuple(tracks),
    )
    programs = {"Melody": melody_program, "Chords": chord_program, "Bass": BASS_PROGRAM, "Drums": 0}
    return _to_score(tracks, programs, truth), truth


def _to_score(tracks: dict[str, list[Event]], programs: dict[str, int], truth: SynthLabels) -> ScoreTick:
    from symusic.core import KeySignatureTick, NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

    score = ScoreTick(TICKS_PER_QUARTER)
    score.tempos.append(TempoTick(0, truth.tempo))
    score.time_signatures.append(TimeSignatureTick(0, *truth.metre))
    score.key_signatures.append(KeySignatureTick(0, _sharps(truth), int(truth.mode == "minor")))
    for name, events in tracks.items():
        track = TrackTick(name, programs[name], name == "Drums")
        for event in sorted(events, key=lambda event: (event.onset, event.pitch)):
            onset, length = event.onset * TICKS_PER_EIGHTH, event.length * TICKS_PER_EIGHTH
            track.notes.append(NoteTick(onset, length, event.pitch, event.velocity))
        score.tracks.append(track)
    return score


def _sharps(truth: SynthLabels) -> int:
    """Sharps (or minus flats) of the key signature, -5 to 6."""
    major = (truth.tonic + 3) % 12 if truth.mode == "minor" else truth.tonic
    sharps = major * 7 % 12
    return sharps if sharps <= 6 else sharps - 12
