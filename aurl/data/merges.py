"""Byte pair encoding over tokens: frequent neighbours become tokens of their own, learned from a corpus.

The learned tokens stand behind the tokenizer's own ("base") ids. Stores keep base ids, so that augmentation can rename
tokens; merging comes after it (merging.py), with the Rust library that miditok uses as well. One rule of ours: a
learned token never crosses a moment. Words, inside which neighbours may merge, begin at Position and TimeShift tokens;
Bar, TimeSig and special tokens stay by themselves. So all parts of a learned token have one musical time, bar lines
stay where prompts and windows are cut, and words are short, which makes merging fast.

Axis legend: N base tokens, M merged tokens, V base vocabulary, L parts of the longest learned token.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer

from aurl.data.kinds import Kind
from aurl.data.vocabulary import Vocabulary
from aurl.utils.errors import AurlError

FIRST_CHARACTER = 0xF0000
"""Code point that stands for id 0 in the library's texts: the private use area of plane 15."""
MOST_TOKENS = 65_535
"""Ids fit in uint16."""
LEAST_COUNT = 2
"""Neighbours that occur less often in the corpus do not merge."""
ALONE = (Kind.PAD, Kind.BOS, Kind.EOS, Kind.BAR, Kind.TIMESIG)
STARTERS = (Kind.POSITION, Kind.TIME_SHIFT)

IntArray = npt.NDArray[np.int64]


class Merges:
    """Learned tokens and both ways between base and merged ids.

    Args:
        text: the library's own JSON, as ``to_text`` gives it.
        base_size: V.

    Attributes:
        size: base and learned tokens together.
        parts: base ids of each id (size, L), -1 behind the last.
        lengths: how many those are (size,).

    Raises:
        AurlError: the text is no learned vocabulary over ``base_size`` tokens.
    """

    def __init__(self, text: str, base_size: int) -> None:
        try:
            self._library = Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise AurlError(f"learned tokens cannot be read: {error}") from error
        names = sorted(self._library.get_vocab().items(), key=lambda item: item[1])
        rows = [[ord(character) - FIRST_CHARACTER for character in name] for name, _ in names]
        if [id_ for _, id_ in names] != list(range(len(names))) or rows[:base_size] != [[i] for i in range(base_size)]:
            raise AurlError(f"learned tokens were made for another tokenizer than this one of {base_size} tokens")
        self.base_size, self.size = base_size, len(names)
        self.lengths = np.array([len(row) for row in rows])
        self.parts = np.full((self.size, int(self.lengths.max())), -1, np.int64)
        for id_, row in enumerate(rows):
            self.parts[id_, : len(row)] = row

    @classmethod
    def learn(cls, pieces: Iterable[npt.NDArray[np.integer]], vocabulary: Vocabulary, size: int) -> Merges:
        """Learn from pieces of base ids.

        Args:
            pieces: ids (N,) each.
            vocabulary: what they mean.
            size: tokens in all, base ones included; fewer come out where nothing repeats any more.

        Raises:
            AurlError: ``size`` leaves no token to learn, or ids would not fit.
        """
        check_size(size, vocabulary)
        library = Tokenizer(BPE())
        library.pre_tokenizer = Split(Regex(_words(vocabulary)), "isolated")
        trainer = BpeTrainer(
            vocab_size=size,
            min_frequency=LEAST_COUNT,
            show_progress=False,
            initial_alphabet=[chr(FIRST_CHARACTER + id_) for id_ in range(vocabulary.size)],
            limit_alphabet=vocabulary.size,
        )
        library.train_from_iterator((_text(piece) for piece in pieces), trainer)
        return cls(library.to_str(), vocabulary.size)

    def to_text(self) -> str:
        """Everything needed to build this again."""
        return str(self._library.to_str())

    def merge(self, ids: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """Merged ids of base ids (N,), and where each begins in them; (M,) both."""
        merged = np.array(self._library.encode(_text(np.asarray(ids))).ids, np.int64)
        lengths = self.lengths[merged]
        return merged, np.cumsum(lengths) - lengths

    def expand(self, ids: npt.ArrayLike) -> IntArray:
        """Base ids (N,) of merged ids (M,)."""
        rows = self.parts[np.asarray(ids, np.int64)]
        return rows[rows >= 0]


def check_size(size: int, vocabulary: Vocabulary, key: str = "tokenizer.bpe=") -> None:
    """Refuse a number of tokens that leaves none to learn, or whose ids would not fit.

    Args:
        size: tokens in all.
        vocabulary: the base tokens.
        key: what the number was given as.

    Raises:
        AurlError: it is such a number.
    """
    if not vocabulary.size < size <= MOST_TOKENS:
        raise AurlError(
            f"{key}{size} is out of range; allowed: {vocabulary.size + 1} (one more than the tokenizer "
            f"has) to {MOST_TOKENS}"
        )


def _text(ids: npt.NDArray[np.integer]) -> str:
    return (ids.astype("<u4") + FIRST_CHARACTER).astype("<u4").tobytes().decode("utf-32-le")


def _words(vocabulary: Vocabulary) -> str:
    """Expression whose matches are the words."""
    alone, starters = (np.isin(vocabulary.kind, kinds) for kinds in (ALONE, STARTERS))
    others = ~(alone | starters)
    return f"[{_class(alone)}]|[{_class(starters)}][{_class(others)}]*"


def _class(members: npt.NDArray[np.bool_]) -> str:
    """Character class of the ids where ``members`` is True."""
    edges = np.flatnonzero(np.diff(members.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    return "".join(f"{chr(FIRST_CHARACTER + first)}-{chr(FIRST_CHARACTER + stop - 1)}" for first, stop in edges)


class MergedVocabulary:
    """Meaning of merged ids, as far as the decoding loop asks for it.

    Args:
        base: meaning of the base ids.
        merges: the learned tokens.
    """

    def __init__(self, base: Vocabulary, merges: Merges) -> None:
        self.base, self.merges, self.size = base, merges, merges.size
        self.pad, self.bos, self.eos = base.pad, base.bos, base.eos

    def _starts(self, ids: IntArray) -> IntArray:
        lengths = self.merges.lengths[ids]
        return np.cumsum(lengths) - lengths

    def musical_time(self, ids: npt.ArrayLike) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Bar and beat of every token (M,): those of its first part, which all its parts have."""
        array = np.asarray(ids, np.int64)
        bar, beat = self.base.musical_time(self.merges.expand(array))
        return bar[self._starts(array)], beat[self._starts(array)]

    def bar_lines(self, ids: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which tokens (M,) are the first of their bar."""
        array = np.asarray(ids, np.int64)
        return self.base.bar_lines(self.merges.expand(array))[self._starts(array)]
