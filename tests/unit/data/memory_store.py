"""A store in memory and plans of it, for tests of batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aurl.data.augmentation.config import AugmentConfig, TransposeConfig
from aurl.data.batching import TrainingPlan
from aurl.data.config import TokenizerConfig
from aurl.data.records import RECORD_TYPE
from aurl.data.store import PieceRecord
from aurl.data.tokenizer import build_tokenizer
from aurl.data.vocabulary import Vocabulary

CONTEXT = 64


def build_vocabulary() -> Vocabulary:
    tokenizer = build_tokenizer(TokenizerConfig())
    return Vocabulary([name for name, _ in sorted(tokenizer.vocab.items(), key=lambda item: item[1])], 8)


def numbers_of(pieces: list[PieceRecord]) -> np.ndarray:
    """What a store has of pieces as an array."""
    found = np.zeros(len(pieces), RECORD_TYPE)
    for name in ("notes", "tokens", "beats", "tracks", "pitch_low", "pitch_high"):
        found[name] = [getattr(piece, name) for piece in pieces]
    return found


@dataclass
class MemoryStore:
    """Pieces of Bar, TimeSig and one note a bar, in memory."""

    vocabulary: Vocabulary
    bars_of_pieces: list[int]
    pieces: list[PieceRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = self.vocabulary.index
        self._ids = []
        for number, bars in enumerate(self.bars_of_pieces):
            pitch = 60 + number % 12
            bar = [
                "Bar_None",
                "TimeSig_4/4",
                "Position_0",
                "Program_52",
                f"Pitch_{pitch}",
                "Velocity_79",
                "Duration_1.0.8",
            ]
            tokens = ["BOS_None", *bar * bars, "EOS_None"]
            tokens = [
                next((n for n in name if n.startswith("Velocity")), t) if t.startswith("Velocity") else t
                for t in tokens
            ]
            self._ids.append(np.array([name[token] for token in tokens], dtype=np.uint16))
            length = len(self._ids[-1])
            self.pieces.append(PieceRecord(str(number), "train", bars, 4.0 * bars, length, pitch, pitch, 1))
        self.numbers = numbers_of(self.pieces)

    def ids(self, piece: int) -> np.ndarray:
        return self._ids[piece]

    def bars(self, piece: int) -> np.ndarray:
        return self.vocabulary.musical_time(self._ids[piece])[0].astype(np.uint16)

    def beats(self, piece: int) -> np.ndarray:
        return self.vocabulary.musical_time(self._ids[piece])[1]


def plan(
    store: MemoryStore, seed: int = 0, batch_tokens: int = 256, overlap: float = 0.0, **augment: object
) -> TrainingPlan:
    config = AugmentConfig(**({"transpose": TransposeConfig(semitones=[-3, 4])} | augment))  # type: ignore[arg-type]
    pieces = range(len(store.pieces))
    return TrainingPlan(store, pieces, store.vocabulary, CONTEXT, batch_tokens, config, seed, overlap)  # type: ignore[arg-type]
