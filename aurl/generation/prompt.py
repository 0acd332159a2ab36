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
from aurl.data.kinds import Form, Kind
from aurl.data.vocabulary import DRUM_PROGRAM, Vocabulary
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
    score: ScoreTick,
    codec: Codec,
    bars: int | None = None,
    programs_met: Sequence[int] | None = None,
    bars_key: str = "prompt_bars",
) -> Prompt:
    """Turn a score into the beginning of a piece.

    Args:
        score: what to continue; it is not changed.
        codec: the checkpoint's.
        bars: take only so many bars from the start; None takes all, the last one to its bar line.
        programs_met: programs (-1 drums) that training met, the most frequent first; None takes every program as met.
        bars_key: what the user calls ``bars``.

    Raises:
        AurlError: no note is left; the caller knows of which file.
        ValueError: ``bars`` is below 1.
    """
    if bars is not None and bars < 1:
        raise ValueError(f"{bars_key}={bars} is out of range; allowed: 1 or more, or null for the whole score")
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
        where = "" if bars is None else f" in the first {bars} bar{'s' * (bars > 1)}"
        lost = f" after fitting to the checkpoint ({', '.join(remarks)})" if remarks else ""
        more = "" if bars is None else f", or a higher {bars_key}"
        raise AurlError(f"there is no note{where}{lost}; choose another file{more}")
    return Prompt(ids, count_bars(ids, vocabulary), notes, ", ".join(remarks))


def count_bars(ids: np.ndarray, vocabulary: Vocabulary) -> int:
    """Bars that have begun; where bars have no tokens of their own, up to the last note that begins."""
    if vocabulary.form in (Form.bars, Form.words):
        return int(np.count_nonzero(vocabulary.kind[ids] == Kind.BAR))
    starts = np.flatnonzero(np.isin(vocabulary.kind[ids], (Kind.PITCH, Kind.PITCH_DRUM)))
    bar, _ = vocabulary.musical_time(ids)
    return int(bar[starts[-1]]) + 1 if len(starts) else 0


def first_bars(ids: np.ndarray, vocabulary: Vocabulary, bars: int | None) -> np.ndarray:
    """The tokens of the first ``bars`` bars; all where there are fewer or ``bars`` is None.

    Where bars have no tokens of their own, what leads to the bar line after them is added; notes that sound over it
    go on.
    """
    if bars is None:
        return ids
    if vocabulary.form in (Form.bars, Form.words):
        starts = np.flatnonzero(vocabulary.kind[ids] == Kind.BAR)
        return ids if bars >= len(starts) else ids[: starts[bars]]
    if bars >= count_bars(ids, vocabulary):
        return ids
    bar, _ = vocabulary.musical_time(ids)
    cut = ids[: int(np.argmax(bar >= bars))]
    if vocabulary.form is Form.numbered:
        return np.append(cut, vocabulary.index[f"Bar_{bars}"])
    while int(vocabulary.musical_time(cut)[0][-1]) < bars:
        cut = np.append(cut, shifts_to_bar_line(cut, vocabulary, further=True))
    return cut


def to_next_bar(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """The tokens that lead from the end of a prompt to the bar that is written next."""
    if vocabulary.form in (Form.bars, Form.words):
        return vocabulary.ids_of(Kind.BAR)[:1]
    if vocabulary.form is Form.numbered:
        if vocabulary.kind[ids[-1]] == Kind.BAR:
            return ids[:0]
        bars = vocabulary.ids_of(Kind.BAR)
        number = count_bars(ids, vocabulary)
        if number >= len(bars):
            raise AurlError(f"the prompt has {number} bars, all that the tokenizer has numbers for; take fewer of them")
        return bars[number : number + 1]
    _, beat = vocabulary.musical_time(ids)
    begins = np.isin(vocabulary.kind[ids], (Kind.PITCH, Kind.PITCH_DRUM))
    return shifts_to_bar_line(ids, vocabulary, further=bool((beat[begins] == beat[-1]).any()))


def shifts_to_bar_line(ids: np.ndarray, vocabulary: Vocabulary, further: bool) -> np.ndarray:
    """Time shifts from the end of ``ids`` to a bar line.

    Args:
        ids: a piece or its beginning, with time shifts.
        vocabulary: their meaning.
        further: at a bar line, go on to the next one.
    """
    _, beat, metre = vocabulary.timeline(ids)
    ticks = np.rint(beat * vocabulary.ticks_per_quarter).astype(np.int64)
    signed = np.flatnonzero(vocabulary.kind[ids] == Kind.TIMESIG)
    into = int(ticks[-1] - (ticks[signed[-1]] if len(signed) else 0))
    length = int(vocabulary.bar_ticks[metre[-1]])
    left = (length - into % length) if further or into % length else 0
    left //= int(vocabulary.position_ticks[metre[-1]])
    shifts = vocabulary.ids_of(Kind.TIME_SHIFT)
    values = vocabulary.value[shifts]
    way = []
    while left:
        chosen = int(np.argmax(np.where(values <= left, values, 0)))
        way.append(int(shifts[chosen]))
        left -= int(values[chosen])
    return np.array(way, np.int64)


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
