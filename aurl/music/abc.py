"""ABC tunes in, scores out: the notation of folk tune books, read by a small parser of our own.

What sounds and where the bars are is read: notes, rests, chords, lengths, ties, tuplets, broken rhythm, accidentals,
keys and modes, metres, tempi, voices. Chord symbols become markers (see chord_sources.py); lyrics, ornaments and grace
notes are stepped over. Repeats are not written out, as in notation.py, and the bars are laid out by the same rules
(bars.py).
Source: the ABC music standard 2.1, https://abcnotation.com/wiki/abc:standard:v2.1
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from aurl.music.bars import Measure, lay_out_bars, shift_score
from aurl.music.chord_sources import add_symbols
from aurl.music.chord_symbols import parse_abc_symbol
from aurl.music.chords import Chord
from aurl.music.marks import MAX_METRE_NUMERATOR
from aurl.utils.errors import UnreadableFile
from aurl.utils.logging import get_logger

log = get_logger(__name__)

TICKS_PER_QUARTER = 480
VELOCITY = 80
MAX_TICKS = 2**30
MAX_LENGTH_DIGITS = 4
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
OCTAVE = 12
UPPER_CASE_C = 60
SHARP_ORDER = "FCGDAEB"
FIFTHS_OF_TONIC = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
FIFTHS_OF_MODE = {
    "ion": 0,
    "maj": 0,
    "mix": -1,
    "dor": -2,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "phr": -4,
    "loc": -5,
    "lyd": 1,
}
ACCIDENTALS = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}
DEFAULT_TUPLET_TIME = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
SHORT_METRE = Fraction(3, 4)
"""Below this the default note length is a 16th, else an eighth."""

_LENGTH = rf"(\d{{0,{MAX_LENGTH_DIGITS}}})(/*)(\d{{0,{MAX_LENGTH_DIGITS}}})"
_TOKEN = re.compile(
    rf"""
    \[(?P<field>[A-Za-z]):(?P<value>[^\]\n]*)\]
  | (?P<ending>\[\d[\d,.\-]*)
  | (?P<bar>\[\|\]?|:*\|+[\]:|]*|::+)(?:[ ]*\d[\d,.\-]*)?
  | \[(?P<chord>[^\]\[|\n]*)\](?P<chord_length>{_LENGTH.replace("(", "(?:")})
  | (?P<skip>"[^"\n]*"?|![^!\n]*!|\+[A-Za-z.()<>]+\+|\{{[^}}\n]*\}}?)
  | \((?P<tuplet>\d)(?::(?P<tuplet_time>\d?))?(?::(?P<tuplet_count>\d?))?
  | (?P<note>[\^_=]*[A-Ga-g][,']*)(?P<note_length>{_LENGTH.replace("(", "(?:")})
  | (?P<rest>[zxZX])(?P<rest_length>{_LENGTH.replace("(", "(?:")})
  | (?P<tie>-)
  | (?P<broken>>+|<+)
  | (?P<overlay>&)
    """,
    re.VERBOSE,
)
_CHORD_NOTE = re.compile(rf"([\^_=]*[A-Ga-g][,']*)({_LENGTH.replace('(', '(?:')})(-?)")
_NOTE_PARTS = re.compile(r"([\^_=]*)([A-Ga-g])([,']*)")
_FIELD_LINE = re.compile(r"^([A-Za-z]):(.*)$")
_KEY = re.compile(r"^\s*([A-G])([#b]?)\s*([A-Za-z]*)")
_PROGRAM = re.compile(r"^%%MIDI\s+program\s+(?:\d+\s+)?(\d+)\s*$")


@dataclass
class _Voice:
    """One voice while it is read; times are in whole notes."""

    name: str
    time: Fraction = Fraction(0)
    bar_start: Fraction = Fraction(0)
    notes: list[list[Fraction]] = field(default_factory=list)  # [start, length, pitch]
    accidentals: dict[str, int] = field(default_factory=dict)
    tied: dict[str, int] = field(default_factory=dict)  # written note -> index in notes
    last: tuple[list[int], Fraction] = field(default_factory=lambda: ([], Fraction(0)))
    last_written: list[str] = field(default_factory=list)
    next_factor: Fraction = Fraction(1)
    tuplet_factor: Fraction = Fraction(1)
    tuplet_left: int = 0
    program: int = 0


class AbcReader:
    """Reads one tune.

    Args:
        text: the tune, from its ``X:`` on; a tune book's header may stand before it.
    """

    def __init__(self, text: str) -> None:
        self.metre: tuple[int, int] | None = (4, 4)
        self.unit: Fraction | None = None
        self.key: dict[str, int] = {}
        self.in_body = False
        self.program = 0
        self.tempo: float | None = None
        self.voices: dict[str, _Voice] = {}
        self.voice: _Voice | None = None
        self.measures: list[tuple[Fraction, Fraction, tuple[int, int] | None]] = []
        self.chord_symbols: list[tuple[Fraction, Chord]] = []
        for line in text.splitlines():
            self._read_line(line)
        for voice in self.voices.values():
            self._end_bar(voice)

    # --- fields

    def _read_line(self, line: str) -> None:
        program = _PROGRAM.match(line)
        if program is not None:
            self.program = min(int(program.group(1)), 127)
            if self.voice is not None:
                self.voice.program = self.program
        line = line.split("%", 1)[0]
        found = _FIELD_LINE.match(line)
        if found is not None:
            self._set_field(found.group(1), found.group(2).strip())
        elif self.in_body and line.strip():
            self._read_music(line)

    def _set_field(self, letter: str, value: str) -> None:
        if letter == "M":
            self.metre = _read_metre(value)
        elif letter == "L":
            self.unit = _read_fraction(value) or self.unit
        elif letter == "Q":
            self._set_tempo(value)
        elif letter == "V" and value:
            self._set_voice(value)
        elif letter == "K":
            self.key = _read_key(value, self.key)
            self.in_body = True

    def _set_tempo(self, value: str) -> None:
        found = re.search(r"(?:(\d+)/(\d+)\s*)?=\s*(\d+)", value) or re.match(r"()()\s*(\d+)\s*$", value)
        if found is None or self.tempo is not None:
            return
        beat = Fraction(int(found.group(1)), max(int(found.group(2)), 1)) if found.group(1) else self._unit()
        self.tempo = float(int(found.group(3)) * beat * 4)

    def _set_voice(self, value: str) -> None:
        key = value.split()[0]
        name = re.search(r"""(?:name|nm)=["']?([^"'\n]+?)["']?(?:\s+\w+=|$)""", value)
        if key not in self.voices:
            self.voices[key] = _Voice(name=name.group(1) if name else key, program=self.program)
        self.voice = self.voices[key]

    def _unit(self) -> Fraction:
        """The length of a note without a number."""
        if self.unit is not None:
            return self.unit
        is_short = self.metre is not None and Fraction(*self.metre) < SHORT_METRE
        return Fraction(1, 16) if is_short else Fraction(1, 8)

    # --- music

    def _read_music(self, line: str) -> None:
        if self.voice is None:
            self.voice = self.voices.setdefault("", _Voice(name="", program=self.program))
        position = 0
        while position < len(line):
            token = _TOKEN.match(line, position)
            if token is None:
                position += 1  # blanks, slurs and ornaments of one letter
                continue
            self._read_token(token, self.voice)
            position = token.end()

    def _read_token(self, token: re.Match[str], voice: _Voice) -> None:
        if token["field"]:
            self._set_field(token["field"], token["value"].strip())
        elif token["bar"]:
            self._end_bar(voice)
        elif token["note"]:
            self._add(voice, [(token["note"], Fraction(1), False)], _read_length(token["note_length"]))
        elif token["chord"] is not None:
            members = [
                (note, _read_length(length), bool(tie)) for note, length, tie in _CHORD_NOTE.findall(token["chord"])
            ]
            self._add(voice, members, _read_length(token["chord_length"]))
        elif token["rest"]:
            self._rest(voice, token["rest"], _read_length(token["rest_length"]))
        elif token["tie"]:
            indices, _ = voice.last
            voice.tied = dict(zip(voice.last_written, indices, strict=True))
        elif token["broken"]:
            self._break_rhythm(voice, token["broken"])
        elif token["tuplet"]:
            self._start_tuplet(voice, token)
        elif token["skip"] and token["skip"].startswith('"'):
            self._add_symbol(voice, token["skip"].strip('"'))
        elif token["overlay"]:
            voice.time = voice.bar_start
            # A tie or broken rhythm never reaches from one layer back into the one before it.
            voice.last, voice.last_written, voice.tied = ([], Fraction(0)), [], {}

    def _add_symbol(self, voice: _Voice, text: str) -> None:
        """Keep a quoted chord symbol; other quoted texts are remarks."""
        try:
            self.chord_symbols.append((voice.time, parse_abc_symbol(text)))
        except ValueError as error:
            log.debug("quoted text stepped over: %s", error)

    def _add(self, voice: _Voice, members: list[tuple[str, Fraction, bool]], length: Fraction) -> None:
        """Add the notes of a chord (or one note) and move on by the first one's length."""
        if not members:
            return
        factor = length * self._unit() * self._factor(voice)
        ties, voice.tied = voice.tied, {}
        indices = []
        for written, relative, tie in members:
            duration = relative * factor
            index = ties.get(_without_accidental(written))
            if index is not None and voice.notes[index][0] + voice.notes[index][1] == voice.time:
                voice.notes[index][1] += duration
            else:
                index = len(voice.notes)
                voice.notes.append([voice.time, duration, Fraction(self._pitch(voice, written))])
            indices.append(index)
            if tie:
                voice.tied[_without_accidental(written)] = index
        voice.last = indices, members[0][1] * factor
        voice.last_written = [_without_accidental(written) for written, _, _ in members]
        voice.time += members[0][1] * factor

    def _rest(self, voice: _Voice, kind: str, length: Fraction) -> None:
        whole_bars = kind in "ZX"
        unit = Fraction(*(self.metre or (4, 4))) if whole_bars else self._unit() * self._factor(voice)
        voice.last, voice.last_written, voice.tied = ([], length * unit), [], {}
        voice.time += length * unit

    def _factor(self, voice: _Voice) -> Fraction:
        """What tuplets and broken rhythm make of the next length; using it up."""
        factor, voice.next_factor = voice.next_factor, Fraction(1)
        if voice.tuplet_left:
            voice.tuplet_left -= 1
            factor *= voice.tuplet_factor
        return factor

    def _start_tuplet(self, voice: _Voice, token: re.Match[str]) -> None:
        notes = int(token["tuplet"])
        is_compound = self.metre is not None and self.metre[0] % 3 == 0 and self.metre[0] > 3
        time = int(token["tuplet_time"] or 0) or DEFAULT_TUPLET_TIME.get(notes, 3 if is_compound else 2)
        if notes > 0:
            voice.tuplet_factor = Fraction(time, notes)
            voice.tuplet_left = int(token["tuplet_count"] or 0) or notes

    def _break_rhythm(self, voice: _Voice, marks: str) -> None:
        """``a>b`` lengthens a and shortens b by half of a; ``<`` the other way round; more marks, more of it."""
        short = Fraction(1, 2 ** min(len(marks), MAX_LENGTH_DIGITS))
        first, second = (2 - short, short) if marks[0] == ">" else (short, 2 - short)
        indices, length = voice.last
        change = length * (first - 1)
        for index in indices:
            voice.notes[index][1] += change
        voice.time += change
        voice.last, voice.next_factor = (indices, length + change), second

    def _pitch(self, voice: _Voice, written: str) -> int:
        """MIDI pitch of a written note: its accidental, else one earlier in the bar, else the key's."""
        accidental, letter, octaves = _NOTE_PARTS.findall(written)[0]
        place = letter + octaves
        if accidental:
            voice.accidentals[place] = ACCIDENTALS.get(accidental, 0)
        change = voice.accidentals.get(place, self.key.get(letter.upper(), 0))
        octave = OCTAVE * (letter.islower() + octaves.count("'") - octaves.count(","))
        return UPPER_CASE_C + SEMITONES[letter.upper()] + octave + change

    def _end_bar(self, voice: _Voice) -> None:
        voice.accidentals.clear()
        if voice.time > voice.bar_start:
            if voice is next(iter(self.voices.values())):
                self.measures.append((voice.bar_start, voice.time - voice.bar_start, self.metre))
            voice.bar_start = voice.time


def abc_to_score(text: str, name: str = "tune") -> ScoreTick:
    r"""Turn one ABC tune into a score whose downbeats meet its bar lines.

    Args:
        text: the tune (fields and music).
        name: what messages call it.

    Returns:
        Tick score, 480 ticks a quarter, one track for each voice with notes.

    Raises:
        UnreadableFile: there are no notes in it, or notes beyond MIDI's range.

    Example:
        >>> score = abc_to_score("X:1\nM:3/4\nL:1/4\nK:G\nD|GAB|")
        >>> [note.time // 480 for note in score.tracks[0].notes]
        [2, 3, 4, 5]
    """
    reader = AbcReader(text)
    voices = [voice for voice in reader.voices.values() if voice.notes]
    if not voices:
        raise UnreadableFile(name, "no notes in it (an ABC tune needs X:, K: and music)")
    if max(_ticks(voice.time) for voice in voices) >= MAX_TICKS:
        raise UnreadableFile(name, "its time goes beyond what a score can hold")
    score = ScoreTick(TICKS_PER_QUARTER)
    for voice in voices:
        track = TrackTick(voice.name, voice.program, False)
        for start, length, pitch in voice.notes:
            if not 0 <= pitch <= 127:
                raise UnreadableFile(name, f"a note has MIDI pitch {pitch}; allowed: 0 to 127")
            begin = _ticks(start)
            track.notes.append(NoteTick(begin, max(_ticks(start + length) - begin, 1), int(pitch), VELOCITY))
        track.notes.sort()
        score.tracks.append(track)
    if reader.tempo:
        score.tempos.append(TempoTick(0, reader.tempo))
    add_symbols(score, ((_ticks(time), chord) for time, chord in reader.chord_symbols))
    measures = [
        Measure(_ticks(start), _ticks(start + length) - _ticks(start), *metre)
        for start, length, metre in reader.measures
        if metre is not None
    ]
    layout = lay_out_bars(measures, TICKS_PER_QUARTER)
    if layout is not None:
        for time, numerator, denominator in layout.metres:
            score.time_signatures.append(TimeSignatureTick(time, numerator, denominator))
        shift_score(score, layout.shift)
    return score


def _ticks(whole_notes: Fraction) -> int:
    return round(whole_notes * 4 * TICKS_PER_QUARTER)


def _without_accidental(written: str) -> str:
    return written.lstrip("^_=")


def _read_length(text: str) -> Fraction:
    """``3/2``, ``/`` (a half), ``//`` (a quarter), ``/4``, ``2`` or nothing (1)."""
    digits, _, rest = text.partition("/")
    below = rest.lstrip("/")
    denominator = int(below) if below else 2 ** text.count("/")
    return Fraction(int(digits) if digits else 1, max(denominator, 1))


def _read_fraction(text: str) -> Fraction | None:
    found = re.match(r"\s*(\d{1,4})\s*/\s*(\d{1,4})", text)
    return Fraction(int(found.group(1)), int(found.group(2))) if found and int(found.group(2)) else None


def _read_metre(text: str) -> tuple[int, int] | None:
    """``4/4``, ``C``, ``C|``, ``2+3/8``; None for free metre."""
    text = text.strip()
    if text.startswith("C|"):
        return 2, 2
    if text.startswith("C"):
        return 4, 4
    found = re.match(r"\(?([\d+ ]+)\)?\s*/\s*(\d{1,2})\s*$", text)
    if found is None:
        return None
    numerator = sum(int(part) for part in re.findall(r"\d{1,4}", found.group(1)))
    denominator = int(found.group(2))
    is_possible = 1 <= numerator <= MAX_METRE_NUMERATOR and denominator in (1, 2, 4, 8, 16, 32, 64)
    return (numerator, denominator) if is_possible else None


def _read_key(text: str, before: dict[str, int]) -> dict[str, int]:
    """Accidentals of a key: tonic, mode and written ones, such as ``Am``, ``D mix``, ``F#dor``, ``D =c``, ``HP``."""
    if text.strip().lower().startswith("hp"):
        return {"F": 1, "C": 1}
    found = _KEY.match(text)
    if found is None and not text.lower().startswith("none"):
        return before if "=" in text else {}
    key: dict[str, int] = {}
    if found is not None:
        tonic, sign, mode = found.groups()
        fifths = FIFTHS_OF_TONIC[tonic] + {"#": 7, "b": -7, "": 0}[sign]
        fifths += FIFTHS_OF_MODE.get("m" if mode == "m" else mode.lower()[:3], 0)
        letters = SHARP_ORDER[: min(fifths, 7)] if fifths > 0 else SHARP_ORDER[::-1][: min(-fifths, 7)]
        key = dict.fromkeys(letters, 1 if fifths > 0 else -1)
    for accidental, letter in re.findall(r"\s([\^_=]{1,2})([A-Ga-g])\b", text):
        key[letter.upper()] = ACCIDENTALS.get(accidental, 0)
    return key
