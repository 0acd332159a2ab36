"""Texts and chords of MIDI files for which the parser has no place, kept as lyrics of tracks of their own.

The parser keeps lyrics and markers, but neither plain texts (meta events of type 1), in which karaoke files have their
words and others their chord symbols, nor the chords of the XF format (sequencer-specific events that begin with 43 7B
01; Yamaha, XF Format Specifications 2.01), which become lead-sheet symbols here. Each MIDI track that has some gets a
track without notes for its texts and one for its XF chords: so words and symbols do not mix, and
``chord_sources.chord_symbols`` finds the symbols. A file without such events pays a search through its bytes.
"""

from __future__ import annotations

from symusic.core import ScoreTick, TextMetaTick, TextMetaTickList, TrackTick

from aurl.music.chord_symbols import lead_sheet, parse_lead_sheet
from aurl.music.chords import NATURALS, OCTAVE, ROOTS, Chord
from aurl.music.midi_check import ExactMidi
from aurl.music.midi_events import META

TEXT, SEQUENCER_SPECIFIC = 0x01, 0x7F
TEXT_HEAD, XF_HEAD = bytes((META, TEXT)), bytes((META, SEQUENCER_SPECIFIC))
XF_CHORD = b"\x43\x7b\x01"
"""Maker, format and kind of an XF chord; root, type, bass and type of the bass follow."""
XF_LETTERS = "CDEFGAB"
XF_NATURAL = 3
"""The upper half of a root is 0 for three flats, 3 for none, 6 for three sharps."""
XF_SIGNS = 7
XF_NO_BASS = 0x7F
XF_TYPES = (
    *("", "6", "maj7", "maj7(#11)", "add9", "maj9", "6/9", "aug", "m", "m6", "m7", "m7b5", "m(add9)", "m9", "m7(11)"),
    *("m(maj7)", "m(maj7)(9)", "dim", "dim7", "7", "7sus4", "7b5", "9", "7(#11)", "7(13)", "7(b9)", "7(b13)", "7(#9)"),
    *("maj7(#5)", "aug7", "5(no5)", "5", "sus4", "sus2"),
)
"""Lead-sheet names of the chord types, in the order of their numbers; the one behind them cancels the chord."""
XF_NAME = "XF chords"


def add_texts(score: ScoreTick, exact: ExactMidi) -> None:
    """Add the texts and XF chords of a file to its score.

    Args:
        score: as the parser gave it; gets a track for each MIDI track with texts or chords.
        exact: what it was parsed from.
    """
    if TEXT_HEAD not in exact.data and XF_HEAD not in exact.data:
        return
    for track in exact.walked:
        for kind, read in ((TEXT, _decoded), (SEQUENCER_SPECIFIC, xf_symbol)):
            rows, payloads = track.payloads(kind)
            if len(rows):
                name = track.name() if kind == TEXT else XF_NAME
                _add_track(score, name, track.ticks()[rows].tolist(), [read(payload) for payload in payloads])


def xf_symbol(payload: bytes) -> str:
    """Lead-sheet symbol of a sequencer-specific event; empty where it is no XF chord.

    Example:
        >>> xf_symbol(bytes([0x43, 0x7B, 0x01, 0x46, 10, 0x31, 0x7F]))
        'Bbm7/C'
    """
    if not payload.startswith(XF_CHORD) or len(payload) < len(XF_CHORD) + 3:
        return ""
    root, kind, bass = payload[len(XF_CHORD) : len(XF_CHORD) + 3]
    if kind == len(XF_TYPES):
        return "NC"
    number, below = _pitch_class(root), _pitch_class(bass)
    if kind > len(XF_TYPES) or number is None or (below is None and bass != XF_NO_BASS):
        return ""
    chord = parse_lead_sheet(ROOTS[number] + XF_TYPES[kind])
    return lead_sheet(chord if below is None else Chord(chord.root, chord.quality, below, chord.degrees))


def _pitch_class(byte: int) -> int | None:
    """Pitch class of a root or bass; None where the byte says none."""
    letter, sign = (byte & 0x0F) - 1, byte >> 4
    if not 0 <= letter < len(XF_LETTERS) or sign >= XF_SIGNS:
        return None
    return (NATURALS[XF_LETTERS[letter]] + sign - XF_NATURAL) % OCTAVE


def _add_track(score: ScoreTick, name: str, ticks: list[int], texts: list[str]) -> None:
    """A track without notes for the texts that say something, if there are any."""
    lyrics = [TextMetaTick(tick, text) for tick, text in zip(ticks, texts, strict=True) if text.strip()]
    if lyrics:
        track = TrackTick(name)
        track.lyrics = TextMetaTickList(lyrics)
        score.tracks.append(track)


def _decoded(text: bytes) -> str:
    """UTF-8, else Latin-1, which loses no byte; without the zero bytes that end some texts."""
    try:
        return text.decode("utf-8").strip("\0")
    except UnicodeDecodeError:
        return text.decode("latin-1").strip("\0")
