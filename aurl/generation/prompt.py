"""A user's score as the beginning of a piece: ids cut at a bar line, and one line that says what had to change.

What the checkpoint cannot write is fitted by rule, before quantisation:

- A program that training never met takes the nearest one that it met: of the same General MIDI family (eight programs)
  the nearest in number, else the one most often met. Drums are left out where training met none, and where it met
  nothing else all other tracks are left out.
- Metres and pitches without a token, and tracks beyond those that keep their identity: as in ``aurl.data.fitting``.

Everything else stays exactly as it is, up to quantisation to the tokenizer's grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from symusic.core import ScoreTick

from aurl.data.codec import Codec
from aurl.data.fitting import (
    METRES_REPLACED,
    METRES_UNWRITTEN,
    NOTES_AFTER_LAST_BAR,
    NOTES_CUT,
    NOTES_DROPPED,
    PITCHES_MOVED,
    TEMPOS_UNWRITTEN,
    TRACKS_JOINED,
)
from aurl.data.vocabulary import DRUM_PROGRAM, Kind, Vocabulary
from aurl.utils.errors import AurlError

FAMILY = 8
"""Programs in a General MIDI family."""


@dataclass(frozen=True)
class Prompt:
    """The beginning that every sample is given."""

    ids: np.ndarray
    """Tokens ``(N,)`` int64 of whole bars, without BOS and EOS."""
    bars: int
    """Bars of it."""
    notes: int
    """Notes of it."""
    remark: str
    """What had to change, in one line; empty when nothing had to."""


def make_prompt(
    score: ScoreTick, codec: Codec, bars: int | None = None, programs_met: Sequence[int] | None = None
) -> Prompt:
    """Turn a score into the beginning of a piece.

    Args:
        score: what to continue; it is not changed.
        codec: the checkpoint's.
        bars: take only so many bars from the start; None takes all, the last one to its bar line.
        programs_met: programs (-1 drums) that training met, the most frequent first; None takes every program as met.

    Raises:
        AurlError: no note is left.
        ValueError: ``bars`` is below 1.
    """
    if bars is not None and bars < 1:
        raise ValueError(f"prompt_bars={bars} is out of range; allowed: 1 or more, or null for the whole prompt")
    remarks: list[str] = []
    if programs_met is not None:
        score, remarks = map_programs(score, programs_met)
    score, counts = codec.prepare_score(score)
    remarks += describe_counts(counts)
    ids = np.asarray(codec.encode(score), dtype=np.int64)
    vocabulary = codec.vocabulary
    ids = first_bars(ids, vocabulary, bars)
    notes = vocabulary.count_notes(ids)
    if not notes:
        where = "" if bars is None else f" in its first {bars} bars"
        lost = f" after fitting it to the checkpoint ({', '.join(remarks)})" if remarks else ""
        raise AurlError(f"prompt has no notes{where}{lost}; choose another file or more prompt_bars")
    remark = f"prompt: {', '.join(remarks)}" if remarks else ""
    return Prompt(ids, int(np.count_nonzero(vocabulary.kind[ids] == Kind.BAR)), notes, remark)


def first_bars(ids: np.ndarray, vocabulary: Vocabulary, bars: int | None) -> np.ndarray:
    """The tokens of the first ``bars`` bars; all where there are fewer or ``bars`` is None."""
    starts = np.flatnonzero(vocabulary.kind[ids] == Kind.BAR)
    return ids if bars is None or bars >= len(starts) else ids[: starts[bars]]


def nearest_program(program: int, met: Sequence[int]) -> int | None:
    """The program that stands for one that training never met, or None where nothing can.

    Args:
        program: General MIDI program, -1 drums.
        met: programs that training met, the most frequent first.
    """
    if program in met:
        return program
    melodic = [each for each in met if each != DRUM_PROGRAM]
    if program == DRUM_PROGRAM or not melodic:
        return None
    family = [each for each in melodic if each // FAMILY == program // FAMILY]
    return min(family, key=lambda each: abs(each - program)) if family else melodic[0]


def map_programs(score: ScoreTick, met: Sequence[int]) -> tuple[ScoreTick, list[str]]:
    """Give every track a program that training met, or leave it out.

    Returns:
        The score (the same object when nothing had to change) and what was done, a phrase each.
    """
    mapped: dict[int, int] = {}
    dropped: list[str] = []
    score = score.copy()
    for index in reversed(range(len(score.tracks))):
        track = score.tracks[index]
        program = DRUM_PROGRAM if track.is_drum else int(track.program)
        target = nearest_program(program, met)
        if target is None:
            dropped.append("drums" if track.is_drum else f"program {program}")
            del score.tracks[index]
        elif target != program:
            mapped[program] = target
            track.program = target
    phrases = [f"program {source} becomes {target}" for source, target in sorted(mapped.items())]
    phrases += [f"{name} left out" for name in sorted(set(dropped))]
    if phrases:
        phrases[-1] += " (training met no such program)"
    return score, phrases


def describe_counts(counts: dict[str, int]) -> list[str]:
    """Phrases for the changes that ``Codec.prepare_score`` counted."""
    words = {
        METRES_REPLACED: "time signatures replaced by the nearest with a token",
        PITCHES_MOVED: "notes moved by octaves into range",
        NOTES_DROPPED: "notes outside the range left out",
        TRACKS_JOINED: "tracks joined with another of their program",
        NOTES_CUT: "notes cut where the next of their pitch begins",
        NOTES_AFTER_LAST_BAR: "notes after the last bar that has a token left out",
        METRES_UNWRITTEN: "time signatures without notes left out",
        TEMPOS_UNWRITTEN: "tempi without notes left out",
    }
    return [f"{counts[key]} {phrase}" for key, phrase in words.items() if counts.get(key)]
