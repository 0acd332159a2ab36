"""Which tokens the training pieces of a corpus have: what a model can have learned, and what it cannot.

Axis: V tokens.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from aurl.data.augmentation.config import AugmentConfig
from aurl.data.kinds import Kind
from aurl.data.store import TokenStore
from aurl.data.vocabulary import Vocabulary

TIMES = (Kind.POSITION, Kind.TIME_SHIFT, Kind.DURATION)
MOVED = {
    "stretch": (Kind.TEMPO, *TIMES),
    "velocity": (Kind.VELOCITY,),
    "substitute": (Kind.PROGRAM,),
    "swing": TIMES,
    "humanize": (Kind.VELOCITY, *TIMES),
}
"""Kind of augmentation -> kinds of tokens that it may turn into any other of their kind."""
SPECIAL = (Kind.PAD, Kind.BOS, Kind.EOS, Kind.OTHER)


def token_counts(store: TokenStore, vocabulary: Vocabulary, split: str = "train") -> NDArray[np.int64]:
    """How often the pieces of a split have each base token ``(V,)``."""
    counts: NDArray[np.int64] = np.zeros(vocabulary.size, np.int64)
    for piece in store.chosen(split):
        counts += np.bincount(store.ids(piece), minlength=vocabulary.size)
    return counts


def programs_met(counts: NDArray[np.int64], vocabulary: Vocabulary) -> list[int]:
    """Programs (-1 drums) that occur, the most frequent first.

    Args:
        counts: of base tokens ``(V,)``.
        vocabulary: their meaning.
    """
    by_program: Counter[int] = Counter()
    for id_ in vocabulary.ids_of(Kind.PROGRAM).tolist():
        by_program[int(vocabulary.value[id_])] += int(counts[id_])
    return [program for program, count in by_program.most_common() if count]


def unmet_tokens(counts: NDArray[np.int64], vocabulary: Vocabulary, augment: AugmentConfig) -> list[int]:
    """Ids of the base tokens that training never meets: not in its pieces, and not made of them by augmentation.

    Transposition reaches what lies so many semitones from a pitch of the corpus, inside the corpus's range; of kinds of
    tokens that another augmentation moves (:data:`MOVED`), all count as met.

    Args:
        counts: how often the training pieces have each base token ``(V,)``.
        vocabulary: their meaning.
        augment: what happens to training pieces.
    """
    met = counts > 0
    met |= np.isin(vocabulary.kind, SPECIAL)
    for name, kinds in MOVED.items():
        if getattr(augment, name).probability:
            met |= np.isin(vocabulary.kind, kinds)
    if augment.transpose.probability:
        low, high = augment.transpose.semitones
        pitched = np.isin(vocabulary.kind, (Kind.PITCH, Kind.NOTE_OFF))
        heights = vocabulary.value[pitched & met]
        reached = np.zeros_like(met)
        reached[vocabulary.transposition_table(low, high)[:, met]] = True
        if len(heights):
            reached &= ~pitched | ((vocabulary.value >= heights.min()) & (vocabulary.value <= heights.max()))
        met |= reached
    return [int(id_) for id_ in np.flatnonzero(~met)]
