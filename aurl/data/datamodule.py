"""The corpus as Lightning wants it: prepared once, opened in every process, drawn as packed batches."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray

from aurl.data.augmentation.config import AugmentConfig
from aurl.data.batching import TrainingBatches, TrainingPlan
from aurl.data.codec import Codec
from aurl.data.config import DataConfig, TokenizerConfig
from aurl.data.evaluation_batches import EvaluationBatches
from aurl.data.merging import MergedBatches, MergedStore, check_learnable, learned
from aurl.data.met import programs_met, token_counts, unmet_tokens
from aurl.data.prepare import prepare
from aurl.data.preprocessing import PreprocessConfig
from aurl.data.store import TokenStore
from aurl.utils.errors import AurlError

LEAST_PIECES = 2
"""One to train on and one to validate with."""


class MusicDataModule(L.LightningDataModule):
    """Token batches of one corpus.

    Args:
        data: which corpus, split and batches.
        tokenizer: how scores become tokens.
        cache: folder where prepared corpora are kept.
        context: longest segment in tokens.
        seed: order and augmentation of the training pieces.
        progress: show a progress bar while preparing.
        augment: what is changed when a training batch is drawn; None means the defaults.
        preprocess: what is done to scores before they are tokenised; None changes nothing.
        cache_limit: most bytes that the cache keeps after preparing a corpus; None keeps all.
        whole_bars: cut held-out pieces that are longer than the context at bar lines only.
    """

    def __init__(
        self,
        data: DataConfig,
        tokenizer: TokenizerConfig,
        cache: Path,
        context: int,
        seed: int = 0,
        progress: bool = True,
        augment: AugmentConfig | None = None,
        preprocess: PreprocessConfig | None = None,
        cache_limit: int | None = None,
        whole_bars: bool = False,
    ) -> None:
        super().__init__()
        self.data_config, self.tokenizer_config = data, tokenizer
        self.augment_config = augment or AugmentConfig()
        self.cache, self.context, self.seed, self.progress = Path(cache), context, seed, progress
        self.preprocess_config, self.cache_limit = preprocess, cache_limit
        self.whole_bars = whole_bars
        self._store: TokenStore | None = None

    def _prepare(self) -> TokenStore:
        return prepare(
            self.data_config,
            self.tokenizer_config.without_merges(),
            self.cache,
            progress=self.progress,
            preprocess=self.preprocess_config,
            cache_limit=self.cache_limit,
        )

    def prepare_data(self) -> None:
        """Read and tokenise the corpus on first use (one process of each machine)."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Open the prepared corpus."""
        if self._store is None:
            if self.tokenizer_config.bpe is not None:
                check_learnable(Codec.from_config(self.tokenizer_config), self.tokenizer_config.bpe)
            self._store = self._prepare()
            self.codec = Codec.from_dict(self._store.tokenizer)
            if self.tokenizer_config.bpe is not None:
                self.codec = learned(self._store, self.codec, self.tokenizer_config.bpe, self.cache)

    @property
    def store(self) -> TokenStore:
        """The prepared corpus.

        Raises:
            AurlError: :meth:`setup` has not run.
        """
        if self._store is None:
            raise AurlError("the corpus is not open yet; call setup() first")
        return self._store

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """How often the training pieces have each base token."""
        return token_counts(self.store, self.codec.vocabulary)

    def programs_met(self) -> list[int]:
        """Programs (-1 drums) of the training pieces, the most frequent first."""
        return programs_met(self._counts, self.codec.vocabulary)

    def unmet_tokens(self) -> list[int]:
        """Ids of the base tokens that training never meets, augmentation included."""
        return unmet_tokens(self._counts, self.codec.vocabulary, self.augment_config)

    def _place(self) -> dict[str, int]:
        trainer: Any = self.trainer
        return {"rank": trainer.global_rank, "world": trainer.world_size} if trainer is not None else {}

    def _pieces(self, split: str) -> NDArray[np.int32]:
        pieces = self.store.chosen(split)
        if not len(pieces) and self.store.where:
            raise AurlError(f'data.where="{self.store.where}" leaves no piece in the {split} split')
        if not len(pieces):
            raise AurlError(self._empty(split))
        return pieces

    def _empty(self, split: str) -> str:
        """What is missing where a split has no piece, and what to do."""
        total, name = len(self.store.split(None)), self.data_config.name
        if total < LEAST_PIECES:
            return (
                f"data={name} has {total} readable piece{'' if total == 1 else 's'}; training needs {LEAST_PIECES} or "
                "more, one to learn from and one held out: add music, or cut the piece into several files"
            )
        if split == "train":
            return f"data={name} leaves none of its {total} pieces to train on; add music or lower data.valid_share"
        return f"data={name} has none of its {total} pieces in the {split} split; add music or raise data.{split}_share"

    def check_splits(self, validated: bool = True) -> None:
        """Refuse a corpus that leaves nothing to train on or to validate with, before anything is built for it.

        Args:
            validated: whether there will be a validation.

        Raises:
            AurlError: what is missing, and what to do.
        """
        for split in ("train", "valid") if validated else ("train",):
            self._pieces(split)

    def train_dataloader(self) -> TrainingBatches | MergedBatches:
        """Batches of about ``data.batch_tokens`` tokens, augmented.

        Raises:
            AurlError: no training piece, or the tokenizer lacks what an augmentation needs.
        """
        plan = TrainingPlan(
            self.store,
            self._pieces("train"),
            self.codec.vocabulary,
            self.context,
            self.data_config.batch_tokens,
            self.augment_config,
            self.seed,
            self.data_config.segment_overlap,
            self.data_config.features,
        )
        batches = TrainingBatches(plan, **self._place())
        return batches if self.codec.merges is None else MergedBatches(batches, self.codec.merges)

    def val_dataloader(self) -> EvaluationBatches:
        """The validation split, every token scored once."""
        return self._evaluation("valid")

    def test_dataloader(self) -> EvaluationBatches:
        """The test split, every token scored once."""
        return self._evaluation("test")

    def _evaluation(self, split: str) -> EvaluationBatches:
        store: Any = self.store
        if self.codec.merges is not None:
            store = MergedStore(self.store, self.codec.merges, self._pieces(split))
        return EvaluationBatches(
            store,
            self._pieces(split),
            self.context,
            self.data_config.batch_tokens,
            features=self.data_config.features,
            whole_bars=self.whole_bars,
            **self._place(),
        )
