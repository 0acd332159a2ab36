"""One piece edited again and again: some bars get new latents and are written anew, the others keep their notes.

What the model made of the bars before an edit is kept from one edit to the next, so an edit costs as many steps as it
writes tokens. Bars after the edit keep their notes too: they were not written with the new ones in mind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from aurl.data.kinds import Form
from aurl.generation.generator import Sample
from aurl.generation.latent_piece import Floats, LatentPiece
from aurl.generation.latent_tools import LatentTools, check_bars
from aurl.generation.steered import Reading
from aurl.utils.errors import AurlError


@dataclass(frozen=True)
class Edit:
    """A piece with some bars written anew."""

    piece: LatentPiece
    """The whole piece after the edit, with the latents that were asked for."""
    sample: Sample
    """Its music."""
    bars: tuple[int, ...]
    """Numbers of the bars that were written, from 1."""


class EditSession:
    """A piece under the editor's hands.

    Args:
        tools: of the checkpoint.
        piece: of the same checkpoint.

    Raises:
        AurlError: latents of another checkpoint, or a tokenizer without Bar tokens.

    Example:
        >>> session = EditSession(tools, song)
        >>> edits = session.rewrite([5, 6], tools.slid(song.bar_latents[None, 4:6], {"density": 2}))
        >>> session.accept(edits[0])
    """

    def __init__(self, tools: LatentTools, piece: LatentPiece) -> None:
        if tools.codec.vocabulary.form not in (Form.bars, Form.words):
            raise AurlError(
                "bars can be replaced where the tokenizer writes Bar tokens (REMI, CPWord), not with this one"
            )
        self.tools, self.piece = tools, tools.check(piece)
        self._reading: Reading | None = None

    def rewrite(self, bars: Sequence[int], latents: Floats, seed: int | None = None) -> list[Edit]:
        """Write bars anew and keep all others; the piece of the session does not change.

        Args:
            bars: numbers of neighbouring bars, from 1, rising.
            latents: ``(R, len(bars), Z)``: R ways of writing them.
            seed: row number i is drawn with ``seed + i``; None takes the tools' seed.

        Raises:
            AurlError: bars that the piece does not have or that are not neighbours, or not as many latents.
        """
        bars = list(bars)
        check_bars(bars, self.piece)
        if not bars or bars != list(range(bars[0], bars[0] + len(bars))):
            raise AurlError(f"bars={bars} are not neighbours; rewrite one stretch after the other")
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 3 or latents.shape[1] != len(bars):
            raise AurlError(f"latents of shape {latents.shape} for {len(bars)} bars; allowed: (rows, {len(bars)}, Z)")
        before = np.repeat(self.piece.bar_latents[None, : bars[0] - 1], len(latents), axis=0)
        written = self.tools.write_bars(
            self.tools.beginning(self.piece, bars[0]), np.concatenate([before, latents], axis=1), self._read(), seed
        )
        return [self._spliced(sample, bars, rows) for sample, rows in zip(written, latents, strict=True)]

    def accept(self, edit: Edit) -> None:
        """Make an edit the piece of the session; what was computed of the bars before it is kept."""
        self.piece = edit.piece
        if self._reading is not None:
            ids, latents = self.tools.codec.merge(edit.piece.tokens), torch.from_numpy(edit.piece.bar_latents)
            self._reading.edit(ids, latents, edit.bars[0] - 1)

    def reset(self, piece: LatentPiece) -> None:
        """Go over to another version of the piece; what both begin with is kept."""
        same = min(len(piece.tokens), len(self.piece.tokens))
        differs = np.flatnonzero(piece.tokens[:same] != self.piece.tokens[:same])
        token = int(differs[0]) if len(differs) else same
        rows = min(piece.bars, self.piece.bars)
        moved = np.flatnonzero((piece.bar_latents[:rows] != self.piece.bar_latents[:rows]).any(axis=1))
        bar = self.tools.bars_of(piece.tokens[:token]) - 1
        self.piece = self.tools.check(piece)
        if self._reading is not None:
            ids, latents = self.tools.codec.merge(piece.tokens), torch.from_numpy(piece.bar_latents)
            self._reading.edit(ids, latents, max(min([bar, *moved[:1].tolist()]), 0))

    def replace(self, bars: Sequence[int], latents: Floats, seed: int | None = None) -> Edit:
        """Rewrite bars that need not be neighbours, stretch by stretch, and accept the result.

        Args:
            bars: numbers of bars, from 1, rising.
            latents: ``(len(bars), Z)``.
            seed: see :meth:`rewrite`.
        """
        numbers = np.asarray(bars, np.int64)
        if len(latents) != len(numbers):
            raise AurlError(f"latents of {len(latents)} bars for {len(numbers)}")
        stretches = np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) != 1) + 1)
        for stretch in stretches:
            edit = self.rewrite(numbers[stretch].tolist(), np.asarray(latents)[None, stretch], seed)[0]
            self.accept(edit)
        return replace(edit, bars=tuple(numbers.tolist()))

    def _read(self) -> Reading:
        if self._reading is None:
            tools = self.tools
            ids, latents = tools.codec.merge(self.piece.tokens), torch.from_numpy(self.piece.bar_latents)
            self._reading = Reading(tools.model, tools.grammar(1), ids, latents)
        return self._reading

    def _spliced(self, sample: Sample, bars: list[int], latents: Floats) -> Edit:
        tokens = np.concatenate([sample.ids, self._after(bars[-1])])
        score = self.tools.codec.decode(tokens)
        rows = self.piece.bar_latents.copy()
        rows[bars[0] - 1 : bars[-1]] = latents
        piece = replace(
            self.piece, tokens=tokens, bar_latents=rows, attributes=self.tools.attributes_of(score, self.piece.bars)
        )
        notes = sum(len(track.notes) for track in score.tracks)
        whole = Sample(sample.number, tokens, score, sample.seed, sample.ended, notes, piece.bars)
        return Edit(piece, whole, tuple(bars))

    def _after(self, bar: int) -> NDArray[np.int64]:
        """Base tokens after a bar."""
        return self.piece.tokens[len(self.tools.beginning(self.piece, bar + 1)) :]
