"""What all measures share: the checkpoint, held-out pieces, and excerpts of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from aurl.cli.evaluate_model import Session
from aurl.data.merging import MergedStore
from aurl.generation.latent_piece import LatentPiece
from aurl.generation.latent_tools import LatentTools
from aurl.generation.prompt import first_bars


@dataclass
class Setting:
    """A checkpoint with latents and the pieces of a held-out split.

    Attributes:
        session: the checkpoint and its corpus, as ``aurl-evaluate`` opens them.
        pieces: most pieces that are looked at.
        bars: how many bars are steered.
        batch_size: rows decoded together.
        seed: of everything that is drawn.
    """

    session: Session
    pieces: int
    bars: int
    batch_size: int
    seed: int

    @cached_property
    def tools(self) -> LatentTools:
        return LatentTools(self.session.generator, batch_size=self.batch_size, seed=self.seed)

    @property
    def context(self) -> int:
        return self.tools.model.config.context

    @cached_property
    def numbers(self) -> list[int]:
        """Pieces in the store, spread over the split."""
        every = self.session.pieces
        if len(every) <= self.pieces:
            return list(every)
        return [every[place] for place in np.linspace(0, len(every) - 1, self.pieces).round().astype(int)]

    @cached_property
    def store(self) -> Any:
        """The pieces in tokens as the model reads them."""
        merges = self.tools.codec.merges
        return self.session.store if merges is None else MergedStore(self.session.store, merges, self.numbers)

    def tokens(self, number: int) -> np.ndarray:
        """Base tokens of a piece without BOS and EOS."""
        return np.asarray(self.session.store.ids(number)[1:-1], np.int64)

    @cached_property
    def encoded(self) -> list[LatentPiece]:
        """The pieces with their latents."""
        return [self.tools.encode_tokens(self.tokens(number), str(number)) for number in self.numbers]

    def beginnings(self, bars: int) -> Iterator[LatentPiece]:
        """The first bars of pieces that have so many, as pieces of their own."""
        for number in self.numbers:
            ids = self.tokens(number)
            if self.tools.bars_of(ids) >= bars:
                yield self.tools.encode_tokens(first_bars(ids, self.tools.codec.vocabulary, bars), str(number))

    @cached_property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each attribute over bars, less their piece's mean; 0 where nothing varies."""
        rows = [piece.attributes.astype(np.float64) for piece in self.encoded]
        centred = np.concatenate([part - nan_mean(part) for part in rows])
        return np.sqrt(np.nan_to_num(nan_mean(centred**2)))


def nan_mean(rows: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is defined, NaN where nothing is."""
    counts = (~np.isnan(rows)).sum(axis=0)
    total = np.nansum(rows, axis=0)
    return np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0)


@dataclass
class Row:
    """A line of the table."""

    what: str
    value: float
    goal: str = ""
    met: bool | None = None
    note: str = ""

    def cells(self) -> tuple[str, str, str, str, str]:
        verdict = "" if self.met is None else "yes" if self.met else "no"
        return self.what, f"{self.value:.4g}", self.goal, verdict, self.note

    def to_dict(self) -> dict[str, Any]:
        value = None if not np.isfinite(self.value) else float(self.value)
        return {"what": self.what, "value": value, "goal": self.goal, "met": self.met, "note": self.note}


def at_least(what: str, value: float, goal: float, note: str = "") -> Row:
    return Row(what, value, f">= {goal:g}", bool(value >= goal), note)


def at_most(what: str, value: float, goal: float, note: str = "") -> Row:
    return Row(what, value, f"<= {goal:g}", bool(value <= goal), note)


def open_session(ckpt: str, overrides: list[str]) -> Session:
    """A checkpoint and its corpus, or the one that the overrides name (keys of ``aurl-evaluate``)."""
    from aurl.cli import conf
    from aurl.cli.app import make_paths_absolute
    from aurl.cli.quoting import quote_arguments

    arguments = quote_arguments([f"ckpt={ckpt}", *overrides], conf.known_keys(conf.COMMANDS["evaluate"]))
    cfg = conf.compose("evaluate", arguments)
    make_paths_absolute(cfg, "evaluate")
    return Session(cfg)
