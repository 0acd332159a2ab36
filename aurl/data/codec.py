"""Scores to ids and back: one object with the tokenizer, its vocabulary and both directions.

The tokenizer (tokenizer.py) says which tokens there are, encoder.py and decoder.py do the work, fitting.py decides what
happens to music that has no token. A codec travels in every checkpoint as plain JSON types.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from symusic.core import ScoreTick

from aurl.data.compound import ORDERS, Compound
from aurl.data.config import TokenizerConfig
from aurl.data.decoder import Decoder
from aurl.data.encoder import Encoder
from aurl.data.encoder_shifts import NoteEndEncoder, ShiftEncoder
from aurl.data.encoder_words import OctupleEncoder, WordEncoder
from aurl.data.fitting import Limits, prepare_score
from aurl.data.kinds import Form
from aurl.data.merges import MergedVocabulary, Merges
from aurl.data.tokenizer import AnyTokenizer, TrackCPWord, build_tokenizer, tokenizer_from_params
from aurl.data.vocabulary import Vocabulary
from aurl.utils.errors import AurlError

PARAMS_KEY = "params"
FINGERPRINT_KEY = "vocabulary_sha256"
MERGES_KEY = "learned_tokens"
VERSION_SUFFIX = "_version"
"""Of the keys with which miditok notes the versions of libraries."""
ENCODERS: dict[Form, type[Encoder]] = {
    Form.bars: Encoder,
    Form.words: WordEncoder,
    Form.shifts: ShiftEncoder,
    Form.note_ends: NoteEndEncoder,
    Form.numbered: OctupleEncoder,
}


class Codec:
    """Encodes scores and decodes ids.

    Args:
        tokenizer: the tokenizer that defines tokens and ids.
        merges: tokens learned over them, which models read and write; scores are encoded to base ids all the same.

    Example:
        >>> codec = Codec.from_config(TokenizerConfig())
        >>> score = codec.decode([codec.vocabulary.index["Bar_None"]])
        >>> len(score.tracks)
        0
    """

    def __init__(self, tokenizer: AnyTokenizer, merges: Merges | None = None) -> None:
        self.tokenizer = tokenizer
        self.compound: Compound | None = None
        """Between flat ids and miditok's compound ones, where the tokenizer has such."""
        if tokenizer.is_multi_voc:
            order = ORDERS[type(tokenizer).__name__]
            self.compound = Compound(tokenizer.vocab, tokenizer.vocab_types_idx, order)
            names = self.compound.names
        else:
            names = sorted(tokenizer.vocab, key=tokenizer.vocab.__getitem__)
        form = Form.words if isinstance(tokenizer, TrackCPWord) else None
        self.vocabulary = Vocabulary(names, tokenizer.config.max_num_pos_per_beat, form)
        self._encoder = ENCODERS[self.vocabulary.form](tokenizer, self.vocabulary)
        self._decoder = Decoder(self.vocabulary)
        self.merges = merges
        """Learned tokens behind those of the vocabulary (``tokenizer.bpe``)."""
        low, high = tokenizer.config.pitch_range
        drum_low, drum_high = tokenizer.config.drums_pitch_range
        self.limits = Limits(
            metres=frozenset(tokenizer.time_signatures),
            positions_per_beat=self.vocabulary.positions_per_beat,
            pitches=(low, high),
            drum_pitches=(drum_low, drum_high),
            tracks_per_program=tokenizer.tracks_per_program,
        )

    @classmethod
    def from_config(cls, config: TokenizerConfig) -> Codec:
        """The codec of a configuration."""
        return cls(build_tokenizer(config))

    @property
    def size(self) -> int:
        """Tokens that a model reads and writes: those of the vocabulary and the learned ones."""
        return self.vocabulary.size if self.merges is None else self.merges.size

    @cached_property
    def model_vocabulary(self) -> Vocabulary | MergedVocabulary:
        """Meaning of the ids that a model reads and writes, learned ones included (:meth:`merge`)."""
        return self.vocabulary if self.merges is None else MergedVocabulary(self.vocabulary, self.merges)

    @property
    def tells_what_sounds(self) -> bool:
        """Whether a model can listen to what it reads: notes say their durations, one token after the other."""
        return self.vocabulary.tells_what_sounds and self.merges is None

    def with_merges(self, merges: Merges) -> Codec:
        """This codec with learned tokens."""
        return Codec(self.tokenizer, merges)

    def merge(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Ids as a model reads them (M,), of base ids (N,)."""
        array = np.asarray(ids, np.int64)
        return array if self.merges is None else self.merges.merge(array)[0]

    def expand(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Base ids (N,) of ids as a model writes them (M,)."""
        array = np.asarray(ids, np.int64)
        return array if self.merges is None else self.merges.expand(array)

    def prepare_score(self, score: ScoreTick) -> tuple[ScoreTick, dict[str, int]]:
        """Fit a score to the vocabulary and count what had to change; see ``fitting.prepare_score``, and for what a
        tokenizer cannot say ``Encoder.fit``.
        """
        score, counts = prepare_score(score, self.limits)
        score, more = self._encoder.fit(score)
        return score, counts | more

    def encode(self, score: ScoreTick) -> npt.NDArray[np.uint16]:
        """Ids of a score, uint16 (N,), without BOS and EOS: those of the tokenizer itself, made much faster.

        Args:
            score: a score in ticks with non-negative times. Pitches and metres without a token are dropped; call
                ``prepare_score`` first to have them replaced.
        """
        return self._encoder.encode(score)

    def decode(self, ids: npt.ArrayLike, cut_overlaps: bool = True) -> ScoreTick:
        """Score of ids (N,), base or learned; BOS, EOS, PAD and broken notes are ignored. See ``Decoder.decode``."""
        return self._decoder.decode(self.expand(ids), cut_overlaps)

    def reads(self, saved: Mapping[str, Any]) -> bool:
        """Whether base ids made with ``saved`` settings (see ``base_dict``) mean the same here; the versions of the
        libraries that made them, which ``saved`` names too, do not matter.
        """
        own = self.base_dict()
        mine, others = (
            {key: value for key, value in each.get(PARAMS_KEY, {}).items() if not key.endswith(VERSION_SUFFIX)}
            for each in (own, saved)
        )
        return mine == others and own[FINGERPRINT_KEY] == saved.get(FINGERPRINT_KEY)

    def has_ids_of(self, other: Codec) -> bool:
        """Whether every id means the same in both, learned tokens included."""
        own, others = (None if each.merges is None else each.merges.parts.tolist() for each in (self, other))
        return self.vocabulary.tokens == other.vocabulary.tokens and own == others

    def to_dict(self) -> dict[str, Any]:
        """Everything needed to build this codec again, in JSON types."""
        saved = self.base_dict()
        return saved if self.merges is None else saved | {MERGES_KEY: self.merges.to_text()}

    def base_dict(self) -> dict[str, Any]:
        """The same without learned tokens: what a store is made with."""
        params = json.loads(json.dumps(self.tokenizer.to_dict()))
        return {PARAMS_KEY: params, FINGERPRINT_KEY: self._fingerprint()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Codec:
        """The codec that ``to_dict`` described.

        Raises:
            AurlError: ``saved`` is something else, or the installed miditok builds another vocabulary from it.
        """
        if PARAMS_KEY not in saved or FINGERPRINT_KEY not in saved:
            raise AurlError(f"tokenizer settings lack '{PARAMS_KEY}' or '{FINGERPRINT_KEY}'; they hold {sorted(saved)}")
        codec = cls(tokenizer_from_params(saved[PARAMS_KEY]))
        if codec._fingerprint() != saved[FINGERPRINT_KEY]:
            raise AurlError(
                "the installed miditok builds another vocabulary than the one these tokens were made with; "
                f"install miditok {saved[PARAMS_KEY].get('miditok_version', 'of that time')}"
            )
        if MERGES_KEY in saved:
            return codec.with_merges(Merges(saved[MERGES_KEY], codec.vocabulary.size))
        return codec

    def _fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.vocabulary.tokens).encode()).hexdigest()
