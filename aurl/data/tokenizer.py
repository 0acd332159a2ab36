"""Which tokens there are: miditok's tokenizers, extended so that several tracks of one program stay apart.

miditok defines vocabulary and meaning; the fast way from scores to ids and back is codec.py, and gives the same ids.
``TrackIdentity`` adds one thing to a stock tokenizer: the k-th further track of a program is written with
``Program_{p}.{k}``. These tokens stand behind the whole stock vocabulary (of their slot, where tokens are compound), so
every id equals the stock tokenizer's wherever no program repeats.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import miditok
import numpy as np
from miditok.classes import Event, TokSequence
from miditok.utils import get_score_ticks_per_beat
from symusic import Note
from symusic.core import ScoreTick, TrackTick

from aurl.data.chord_tokens import NAMES as CHORD_NAMES
from aurl.data.config import TokenizerConfig
from aurl.data.overlaps import cut_durations
from aurl.data.vocabulary import DRUM_PROGRAM
from aurl.utils.errors import AurlError

METRES: dict[int, list[int]] = {
    2: list(range(1, 7)),
    4: list(range(1, 13)),
    8: list(range(1, 17)),
    16: list(range(1, 17)),
}
"""Numerators with a token, by denominator. n/1 is absent on purpose: its grid, an eighth note, is too coarse."""
DRUM_PITCHES = (22, 88)
"""Lowest and highest drum pitch: General MIDI 2, and the Roland zones 22 and 26 of electronic kits."""
TEMPO_RANGE = (40, 250)
"""Slowest and fastest tempo token in quarters a minute; others take the nearest."""
FINE_BEATS = 4
"""Durations up to this many beats use the full grid, longer ones half of it."""


def track_numbers(tracks: Iterable[TrackTick], tracks_per_program: int) -> list[int]:
    """Which track of its program each track is: 0 for the first, at most ``tracks_per_program - 1``.

    Args:
        tracks: tracks in score order; drums count as one program of their own.
        tracks_per_program: tracks that keep their identity; further ones share the last number.
    """
    seen: Counter[int] = Counter()
    numbers = []
    for track in tracks:
        program = DRUM_PROGRAM if track.is_drum else track.program
        numbers.append(min(seen[program], tracks_per_program - 1))
        seen[program] += 1
    return numbers


class TrackIdentity:
    """Track identity for a miditok tokenizer in one stream; stands before it in the bases of a class.

    ``config.additional_params["tracks_per_program"]`` says how many tracks of one program keep their identity. Tracks
    are numbered in score order after empty ones are gone; tracks beyond the last number share it, their notes in track
    order. miditok saves and loads the class like any other (``save``, ``params=``).
    """

    config: miditok.TokenizerConfig

    def _tweak_config_before_creating_voc(self) -> None:
        super()._tweak_config_before_creating_voc()  # type: ignore[misc]
        self.config.additional_params.setdefault("tracks_per_program", 1)
        self._merge_same_program_tracks = False

    @property
    def tracks_per_program(self) -> int:
        """Most tracks of one program that keep their identity."""
        return int(self.config.additional_params["tracks_per_program"])

    @property
    def chords(self) -> bool:
        """Whether there are chord tokens, behind all others; aurl's encoder writes them, miditok does not."""
        return bool(self.config.additional_params.get("chords", False))

    def _create_base_vocabulary(self) -> list[Any]:
        further = range(1, self.tracks_per_program)
        programs = sorted(self.config.programs)
        names = [f"Program_{p}.{k}" for k in further for p in programs]
        if self.chords:
            names += CHORD_NAMES
        stock = super()._create_base_vocabulary()  # type: ignore[misc]
        if not isinstance(stock[0], list):
            return [*stock, *names]
        slot = self.vocab_types_idx["Program"]  # type: ignore[attr-defined]
        return [[*tokens, *names] if index == slot else tokens for index, tokens in enumerate(stock)]

    def _score_to_tokens(
        self,
        score: ScoreTick,
        attribute_controls_indexes: Mapping[int, Mapping[int, Sequence[int] | bool]] | None = None,
    ) -> TokSequence:
        """The event path of miditok, with the number of the track in the Program events of further tracks."""
        tokenizer = cast(miditok.MusicTokenizer, self)
        events: list[Event] = tokenizer._create_global_events(score)
        ticks_per_beat = get_score_ticks_per_beat(score)
        for track, number in zip(score.tracks, track_numbers(score.tracks, self.tracks_per_program), strict=True):
            track_events = tokenizer._create_track_events(track, ticks_per_beat, score.ticks_per_quarter, [], [])
            for event in track_events:
                if number and event.type_ == "Program":
                    event.value = f"{event.value}.{number}"
            events += track_events
        tokenizer._sort_events(events)
        sequence = TokSequence(events=tokenizer._add_time_events(events, score.ticks_per_quarter))
        tokenizer.complete_sequence(sequence)
        return sequence

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """The tokenizer whose ``to_dict()`` gave ``params``, read by miditok's own loader."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_text(json.dumps(params), encoding="utf-8")
            return cls(params=path)  # type: ignore[call-arg]


class TrackREMI(TrackIdentity, miditok.REMI):
    """REMI in one stream, with track identity.

    Example:
        >>> from aurl.data.config import TokenizerConfig
        >>> tokenizer = build_tokenizer(TokenizerConfig())
        >>> tokenizer["Program_52.1"] >= tokenizer["TimeSig_16/16"]
        True
    """


class TrackTSD(TrackIdentity, miditok.TSD):
    """TSD in one stream, with track identity."""


class TrackMIDILike(TrackIdentity, miditok.MIDILike):
    """MIDI-like in one stream, with track identity; a note ends where the next of its track and pitch begins.

    miditok's documentation says the latter too: a NoteOff names a pitch and not a note, so overlapping notes of one
    pitch would exchange their ends. It is done here after quantisation, where rounding may make notes overlap.
    """

    def _preprocess_notes(self, track: TrackTick, *args: Any, **kwargs: Any) -> None:
        super()._preprocess_notes(track, *args, **kwargs)
        if not len(track.notes):
            return
        arrays = track.notes.numpy()
        onset, pitch = arrays["time"].astype(np.int64), arrays["pitch"].astype(np.int64)
        arrays["duration"] = cut_durations(onset, arrays["duration"].astype(np.int64), pitch).astype(np.int32)
        track.notes = Note.from_numpy(**arrays)  # type: ignore[assignment]


class TrackCPWord(TrackIdentity, miditok.CPWord):
    """CPWord in one stream, with track identity in its Program slot."""


class TrackOctuple(TrackIdentity, miditok.Octuple):
    """Octuple in one stream, with track identity in its Program slot; a bar beyond ``max_bar_embedding`` is an error,
    where stock Octuple leaves out the rest of the piece.
    """


AnyTokenizer = TrackREMI | TrackTSD | TrackMIDILike | TrackCPWord | TrackOctuple
CLASSES: dict[str, type[AnyTokenizer]] = {
    "remi": TrackREMI,
    "tsd": TrackTSD,
    "midi_like": TrackMIDILike,
    "cpword": TrackCPWord,
    "octuple": TrackOctuple,
}
"""Classes by ``TokenizerConfig.kind``."""


def tokenizer_from_params(params: Mapping[str, Any]) -> AnyTokenizer:
    """The tokenizer whose ``to_dict()`` gave ``params``.

    Raises:
        AurlError: it is of a class that this version does not have.
    """
    classes = {each.__name__: each for each in CLASSES.values()}
    name = params.get("tokenization", TrackREMI.__name__)
    if name not in classes:
        raise AurlError(f"tokenizer {name} is not known to this version; known: {', '.join(classes)}")
    return classes[name].from_params(params)


def _coarse_resolution(positions_per_beat: int) -> int:
    """Half the grid or, where that is no whole number of positions, its largest divisor below."""
    return next((r for r in range(positions_per_beat // 2, 0, -1) if positions_per_beat % r == 0), 1)


def miditok_config(config: TokenizerConfig) -> miditok.TokenizerConfig:
    """``config`` in miditok's words, for ``TrackREMI`` and for stock ``REMI`` alike.

    Raises:
        ValueError: fewer than two pitches.
    """
    low, high = config.pitch_range
    if high - low < 2:
        raise ValueError(f"tokenizer.pitch_range={config.pitch_range} holds one pitch; allowed: two or more")
    longest, fine = config.max_duration_beats, config.positions_per_beat
    beat_res = {(0, min(longest, FINE_BEATS)): fine}
    if longest > FINE_BEATS:
        beat_res[FINE_BEATS, longest] = _coarse_resolution(fine)
    # The grid of n/2 in a piece of its own has positions_per_beat / 2 ticks a quarter, which must be whole.
    metres = {beat: list(counts) for beat, counts in METRES.items() if beat > 2 or fine % 2 == 0}
    return miditok.TokenizerConfig(
        pitch_range=(low, high - 1),
        beat_res=beat_res,
        num_velocities=config.velocities,
        special_tokens=["PAD", "BOS", "EOS"],
        use_programs=True,
        one_token_stream_for_programs=True,
        use_tempos=True,
        num_tempos=config.tempos,
        tempo_range=TEMPO_RANGE,
        delete_equal_successive_tempo_changes=True,
        use_time_signatures=True,
        time_signature_range=metres,
        use_pitchdrum_tokens=True,
        drums_pitch_range=DRUM_PITCHES,
        tracks_per_program=config.tracks_per_program,
        **({"max_bar_embedding": config.max_bars} if config.kind == "octuple" else {}),
        **({"chords": True} if config.chords else {}),
    )


def build_tokenizer(config: TokenizerConfig) -> AnyTokenizer:
    """The tokenizer of a configuration; a pure function, so every process builds the same one."""
    return CLASSES[config.kind](miditok_config(config))
