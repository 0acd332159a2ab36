"""What music is trained on and how it becomes tokens, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from aurl.music.limits import ReadLimits

TOKENIZERS = ("remi", "tsd", "midi_like", "cpword", "octuple")
"""Values of ``TokenizerConfig.kind``."""


class Source(str, Enum):
    """Where pieces come from."""

    bach = "bach"
    """The four-part chorales that the music21 package carries."""
    folder = "folder"
    """Every readable score below data.path."""
    synth = "synth"
    """Seeded pieces with exact labels."""
    archive = "archive"
    """An unpacked corpus folder with manifest.jsonl and splits/{train,valid,test}.txt."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """One corpus, its split, and how batches are drawn from it.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    name: str = "bach"
    """Name of the corpus, used for its cache folder and in reports."""
    source: Source = Source.bach
    """Kind of source."""
    path: str | None = None
    """Folder (or single file) of the source; needed by folder and archive."""
    file_pattern: str | None = None
    """With source=archive: use the file of this name beside each listed file (POP909's
    cl.mid); unset means the listed file.
    """
    valid_share: float = 0.1
    """Share of pieces held out for validation, where the source has no split of its own."""
    test_share: float = 0.1
    """Share of pieces held out for testing, where the source has no split of its own."""
    split_seed: int = 0
    """Changes which pieces are held out."""
    pieces: int = 200
    """With source=synth: how many pieces are made."""
    batch_tokens: int = 8192
    """Tokens in one training batch (packed, no padding)."""
    segment_overlap: float = 0.0
    """Share of model.context that a training segment of a long piece repeats of the one before it, as whole bars: read,
    not scored.
    """
    where: str | None = None
    """Train on and measure only the pieces for which this holds, for instance "composer == 'Bach' and meter == '3/4'";
    see docs/data_format.md. Nothing is prepared again for it.
    """
    features: list[str] = field(default_factory=list)
    """Arrays that are stored beside the tokens and given with each batch, for instance [chords,beat_chroma]."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """What is refused for its size."""
    workers: int | None = None
    """Processes used for reading and tokenising on first use; unset means one for each core."""

    def __post_init__(self) -> None:
        for key in ("valid_share", "test_share"):
            share = getattr(self, key)
            if not 0.0 <= share < 1.0:
                raise ValueError(f"data.{key}={share} is out of range; allowed: 0 up to, not including, 1")
        if self.valid_share + self.test_share >= 1.0:
            raise ValueError(
                f"data.valid_share={self.valid_share} and data.test_share={self.test_share} leave nothing to train on"
            )
        if not 0.0 <= self.segment_overlap <= 0.75:
            raise ValueError(f"data.segment_overlap={self.segment_overlap} is out of range; allowed: 0 to 0.75")
        if self.path is not None and self.source in (Source.bach, Source.synth):
            raise ValueError(f"data.path={self.path} has no meaning with data={self.name}; add data=folder to use it")
        if self.batch_tokens < 64:
            raise ValueError(f"data.batch_tokens={self.batch_tokens} is too small; allowed: 64 or more")
        if self.pieces < 1:
            raise ValueError(f"data.pieces={self.pieces} is too small; allowed: 1 or more")
        if self.workers is not None and self.workers < 1:
            raise ValueError(
                f"data.workers={self.workers} is too small; allowed: 1 or more, or null for one for each core"
            )


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How scores become tokens (miditok's terms and meanings).

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    kind: str = "remi"
    """Token grammar: remi, tsd, midi_like, cpword or octuple, each miditok's with track identity."""
    positions_per_beat: int = 8
    """Finest grid: positions in a beat for durations up to four beats; half of it beyond that."""
    max_duration_beats: int = 12
    """Longest note in beats; longer notes are cut to it."""
    velocities: int = 16
    """Bins of note velocity."""
    tempos: int = 32
    """Bins of tempo between 40 and 250 quarter notes a minute."""
    tracks_per_program: int = 4
    """Most tracks of one program that keep their identity; further ones share the last."""
    pitch_range: list[int] = field(default_factory=lambda: [21, 109])
    """Lowest pitch and one above the highest pitch with a token."""
    max_bars: int = 1024
    """With octuple, which numbers its bars: most bars of a piece; notes beyond are left out and counted."""
    chords: bool = False
    """With remi: tokens that say the chord (root and quality) before the notes of the position where it changes, from
    the symbols in the file or else heard in its notes."""
    bpe: str | None = None
    """Byte pair encoding: how many tokens in all, learned from the training pieces, or a file that aurl-data tokenizer
    wrote; null reads the tokenizer's own tokens."""

    def without_merges(self) -> TokenizerConfig:
        """The settings that decide the ids in a store."""
        return replace(self, bpe=None)

    def __post_init__(self) -> None:
        if self.bpe is not None and not self.bpe.strip():
            raise ValueError("tokenizer.bpe='' is empty; allowed: a number of tokens, a file, or null")
        if self.kind not in TOKENIZERS:
            raise ValueError(f"tokenizer.kind={self.kind} is unknown; allowed: {', '.join(TOKENIZERS)}")
        if self.chords and self.kind != "remi":
            raise ValueError(f"tokenizer.chords=true is not known to tokenizer={self.kind}; use tokenizer=remi")
        for key, low, high in (
            ("positions_per_beat", 1, 96),
            ("max_duration_beats", 1, 64),
            ("velocities", 1, 127),
            ("tempos", 1, 128),
            ("tracks_per_program", 1, 16),
            ("max_bars", 1, 4096),
        ):
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"tokenizer.{key}={value} is out of range; allowed: {low} to {high}")
        if len(self.pitch_range) != 2 or not 0 <= self.pitch_range[0] < self.pitch_range[1] <= 128:
            raise ValueError(
                f"tokenizer.pitch_range={self.pitch_range} must be [low, high] with 0 <= low < high <= 128"
            )
