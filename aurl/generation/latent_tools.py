"""Pieces into latents, latents into pieces, and what can be done between: the Python API behind ``aurl-latent``.

All of it is batched: whatever is decoded together is written together. Files, pictures and the page are
latent_export.py; editing one piece many times, which keeps what was computed, is latent_editing.py.

Axes: B bars, R rows (pieces written together), Z latent of a bar, P latent of a piece.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.generation.config import SamplerConfig
from aurl.generation.generator import REPORT_STEPS, GenerationRequest, Generator, Sample
from aurl.generation.grammars import AnyGrammar, make_grammar
from aurl.generation.latent_piece import Floats, LatentPiece
from aurl.generation.latent_routes import Routes
from aurl.generation.loop import Finished
from aurl.generation.prompt import count_bars, first_bars, make_prompt, to_next_bar
from aurl.generation.steered import Reading, SteeredDecoding
from aurl.generation.steering import encode_ids
from aurl.models.latent import LatentSpace
from aurl.music.attributes import bar_attributes
from aurl.music.grid import grid_of
from aurl.utils.errors import AurlError
from aurl.utils.words import nearest

FINGERPRINT_DIGITS = 16
GREEDY = SamplerConfig(greedy=True)
"""The most likely token: what latents say, without chance."""


@dataclass(frozen=True)
class Spread:
    """How latents of bars are distributed over the training data, ``(Z,)`` each."""

    mean: Floats
    deviation: Floats


class LatentTools:
    """What can be done with the latents of a checkpoint.

    Args:
        generator: a checkpoint with latents.
        sampler: how tokens are drawn when latents are decoded.
        batch_size: pieces written at the same time; does not change the result.
        seed: number i of what is written together is drawn with ``seed + i``.

    Raises:
        AurlError: the checkpoint has no latents.

    Example:
        >>> tools = LatentTools(Generator.from_checkpoint(Path("runs/vae/checkpoints/best.ckpt")))
        >>> song = tools.encode(read_score(Path("song.mid")), "song")
        >>> denser = tools.slide(song, {"density": 1.5})
        >>> denser.score.dump_midi("denser.mid")
    """

    def __init__(
        self, generator: Generator, sampler: SamplerConfig = GREEDY, batch_size: int = 64, seed: int = 0
    ) -> None:
        if generator.model.latent is None:
            raise AurlError(
                "this checkpoint has no latents (model.mode=transformer); train one with `aurl-train model=vae`"
            )
        self.generator, self.sampler, self.batch_size, self.seed = generator, sampler, batch_size, seed
        self.model, self.codec = generator.model.eval(), generator.codec
        self.latent: LatentSpace = generator.model.latent
        self.device = torch.device(generator.device)
        self.routes: Routes | None = None
        """What sliders follow; None lets a slider move its dimension alone."""
        self._grammars: dict[int, AnyGrammar] = {}

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """Attributes that the first dimensions follow, then z and the number of the dimension, counted from 1."""
        named, size = list(self.model.config.attributes), self.model.config.latent_dim
        return (*named, *(f"z{number}" for number in range(len(named) + 1, size + 1)))

    @property
    def spread(self) -> Spread:
        """Mean and standard deviation of the latents of bars in training; sliders are counted in the latter."""
        mean, deviation = (each.detach().cpu().numpy() for each in (self.latent.spread_mean, self.latent.spread_std))
        return Spread(mean, deviation)

    @property
    def fingerprint(self) -> str:
        """Tells latents of this model from those of another."""
        weights = self.latent.to_bar.weight.detach().float().cpu().numpy().tobytes()
        return hashlib.sha256(weights).hexdigest()[:FINGERPRINT_DIGITS]

    def dimension(self, name: str) -> int:
        """Number of a dimension, from 0.

        Raises:
            AurlError: there is none of this name.
        """
        names, named = self.dimension_names, self.model.config.attributes
        if name not in names:
            numbered = f"z{len(named) + 1} to z{len(names)}"
            raise AurlError(
                f"there is no dimension '{name}'{nearest(name, names)}; allowed: {', '.join([*named, numbered])}"
            )
        return names.index(name)

    # -- music to latents ---------------------------------------------------------------------------------------------

    def encode(self, score: ScoreTick, name: str = "", bars: int | None = None) -> tuple[LatentPiece, str]:
        """The latents of a score.

        Args:
            score: any score; what the checkpoint cannot write is fitted, as a prompt is (see prompt.py).
            name: what the piece is called.
            bars: take only so many bars from its start; None takes all.

        Returns:
            The piece, and what had to change in one line, empty when nothing had to.

        Raises:
            AurlError: no note is left.
        """
        prompt = make_prompt(score, self.codec, bars, self.generator.programs_met, bars_key="bars_read")
        return self.encode_tokens(prompt.ids, name), prompt.remark

    def encode_tokens(self, ids: NDArray[np.integer], name: str = "") -> LatentPiece:
        """The latents of a piece in base tokens ``(T,)`` without BOS and EOS."""
        base: NDArray[np.int64] = np.asarray(ids, np.int64)
        vocabulary = self.codec.model_vocabulary
        tokens = np.concatenate([[vocabulary.bos], self.codec.merge(base)])
        encoded = encode_ids(self.latent, tokens, self.codec, self.device)
        bar_of, _ = vocabulary.musical_time(tokens)
        numbers = bar_of[encoded.bars.start.cpu().numpy()]
        mean, log_variance = (each.float().cpu().numpy() for each in encoded.bar)
        # A bar without a latent of its own (without tokens, or in a model without hierarchy) has the one before it.
        row = np.maximum(np.searchsorted(numbers, np.arange(int(bar_of[-1]) + 1), side="right") - 1, 0)
        return LatentPiece(
            name=name,
            tokens=base,
            bar_latents=mean[row],
            bar_deviations=np.exp(log_variance[row] / 2),
            piece_latent=encoded.piece.mean[0].float().cpu().numpy(),
            attributes=self.attributes_of(self.codec.decode(base), len(row)),
            dimension_names=self.dimension_names,
            checkpoint=self.fingerprint,
        )

    @staticmethod
    def attributes_of(score: ScoreTick, bars: int) -> Floats:
        """What can be heard in the first bars of a score (bars, 8); bars after its end are empty."""
        edges = grid_of(score, "bar").edges
        if len(edges) <= bars:
            length = edges[-1] - edges[-2]
            edges = np.append(edges, edges[-1] + length * np.arange(1, bars + 2 - len(edges)))
        return bar_attributes(score, edges)[:bars]

    def check(self, piece: LatentPiece) -> LatentPiece:
        """The piece, if its latents are of this checkpoint.

        Raises:
            AurlError: they are of another.
        """
        if piece.checkpoint != self.fingerprint:
            raise AurlError(f"the latents of {piece.name or 'this piece'} are of another checkpoint; encode it again")
        return piece

    # -- latents to music ---------------------------------------------------------------------------------------------

    def decode(self, latents: Floats) -> list[Sample]:
        """Write pieces from the latents of their bars alone.

        Args:
            latents: ``(R, B, Z)``.

        Returns:
            R pieces of B bars.

        Raises:
            AurlError: latents of another width, or not one bar.
        """
        return self.write_bars(np.zeros(0, np.int64), latents)

    def write_bars(
        self, tokens: NDArray[np.integer], latents: Floats, reading: Reading | None = None, seed: int | None = None
    ) -> list[Sample]:
        """Write the bars that follow a beginning, a row for each set of latents.

        Args:
            tokens: base tokens of whole bars that every row begins with, without BOS; may be empty.
            latents: ``(R, B, Z)`` of all bars, those of the beginning included; what comes after it is written.
            reading: of a piece that begins so (see steered.py); None reads the beginning.
            seed: of the first row; None takes that of the tools.

        Raises:
            AurlError: latents of another width, or none for the bars that are written.
        """
        latents = np.asarray(latents, np.float32)
        width = self.model.config.latent_dim
        if latents.ndim != 3 or latents.shape[-1] != width:
            raise AurlError(f"latents of shape {latents.shape}; this checkpoint takes (pieces, bars, {width})")
        begun = count_bars(np.asarray(tokens, np.int64), self.codec.vocabulary) if len(tokens) else 0
        if latents.shape[1] <= begun:
            raise AurlError(f"latents of {latents.shape[1]} bars leave nothing to write after {begun} bars")
        grammar = self.grammar(latents.shape[1] - begun)
        prompt = np.asarray(tokens, np.int64)
        if len(prompt):
            prompt = np.append(prompt, to_next_bar(prompt, self.codec.vocabulary))
        seed = self.seed if seed is None else seed
        samples: list[Sample] = []
        for first in range(0, len(latents), self.batch_size):
            rows = torch.from_numpy(latents[first : first + self.batch_size])
            seeds = [seed + first + row for row in range(len(rows))]
            decoding = SteeredDecoding(
                self.model, grammar, self.sampler, self.codec.merge(prompt), seeds, rows, reading
            )
            while decoding.active:
                samples += [self._sample(each, first, seeds) for each in decoding.run(REPORT_STEPS)]
        return sorted(samples, key=lambda sample: sample.number)

    def bars_of(self, tokens: NDArray[np.integer]) -> int:
        """Bars of base tokens, 0 where there are none."""
        if not len(tokens):
            return 0
        bar, _ = self.codec.vocabulary.musical_time(tokens)
        return int(bar[-1]) + 1

    def _sample(self, finished: Finished, first: int, seeds: Sequence[int]) -> Sample:
        score = self.codec.decode(finished.ids)
        notes = sum(len(track.notes) for track in score.tracks)
        ids = self.codec.expand(finished.ids)
        bars = count_bars(ids, self.codec.vocabulary)
        return Sample(first + finished.number, ids, score, seeds[finished.number], finished.ended, notes, bars)

    def grammar(self, bars: int) -> AnyGrammar:
        """Tables of the grammar for writing so many bars, kept."""
        if bars not in self._grammars:
            rules = GenerationRequest(sampler=self.sampler, bars=bars).rules(self.generator.programs_met)
            try:
                self._grammars[bars] = make_grammar(self.codec.vocabulary, rules, self.device, self.codec.merges)
            except ValueError as error:
                raise AurlError(str(error)) from error
        return self._grammars[bars]

    # -- between ------------------------------------------------------------------------------------------------------

    def reconstruct(self, piece: LatentPiece) -> Sample:
        """Write a piece again from its latents alone."""
        return self.decode(self.check(piece).bar_latents[None])[0]

    def slid(self, latents: Floats, sliders: Mapping[str, float], bars: Sequence[int] | None = None) -> Floats:
        """Latents with dimensions moved, along their routes where there are some, by exactly what is asked for.

        Args:
            latents: ``(..., B, Z)``.
            sliders: name of a dimension -> by how many standard deviations of the training data.
            bars: numbers of the bars that are moved, from 1; None moves all.
        """
        moved = np.array(latents, np.float32)
        rows = slice(None) if bars is None else [bar - 1 for bar in bars]
        chosen = moved[..., rows, :]
        shift = np.zeros_like(chosen)
        steps = {
            self.dimension(name): amount * self.spread.deviation[self.dimension(name)]
            for name, amount in sliders.items()
        }
        if self.routes is not None:
            named = {self.dimension_names[column]: step for column, step in steps.items()}
            along = self.routes.together({name: step for name, step in named.items() if name in self.routes.names})
            for name, step in along.items():
                shift += self.routes.shift(name, chosen[..., self.dimension(name)], step)
        for column, step in steps.items():
            shift[..., column] = step
        moved[..., rows, :] = chosen + shift
        return moved

    def slide(self, piece: LatentPiece, sliders: Mapping[str, float], bars: Sequence[int] | None = None) -> Sample:
        """Write a piece again with dimensions moved; with ``bars`` the others keep their latents, not their notes."""
        check_bars(bars or (), piece)
        return self.decode(self.slid(self.check(piece).bar_latents, sliders, bars)[None])[0]

    def interpolate(self, first: LatentPiece, second: LatentPiece, steps: int) -> list[Sample]:
        """Pieces on the straight way from one to the other, bar by bar, as long as the shorter one.

        Args:
            first: where the way begins.
            second: where it ends.
            steps: pieces written, both ends included; 2 or more.

        Raises:
            AurlError: fewer than two steps, or latents of another checkpoint.
        """
        return self.decode(self.way(first, second, steps))

    def way(self, first: LatentPiece, second: LatentPiece, steps: int) -> Floats:
        """The latents of :meth:`interpolate` ``(steps, B, Z)``."""
        if steps < 2:
            raise AurlError(f"steps={steps} is out of range; allowed: 2 or more, both ends count")
        bars = min(self.check(first).bars, self.check(second).bars)
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None, None]
        return (1 - share) * first.bar_latents[None, :bars] + share * second.bar_latents[None, :bars]

    def traverse(
        self, piece: LatentPiece, names: Sequence[str], values: Sequence[float], bars: Sequence[int] | None = None
    ) -> list[list[Sample]]:
        """A row for each dimension, a piece for each value that it is moved by (standard deviations)."""
        check_bars(bars or (), piece)
        rows = [self.slid(self.check(piece).bar_latents, {name: value}, bars) for name in names for value in values]
        samples = self.decode(np.stack(rows))
        return [samples[start : start + len(values)] for start in range(0, len(samples), len(values))]

    def prior_latents(self, piece: LatentPiece, bar: int, count: int, seed: int | None = None) -> Floats:
        """Latents ``(count, Z)`` that the prior draws for the bars from ``bar`` (counted from 1) on, given those before
        it and the piece; the sampler's ``latent_temperature`` says how boldly.
        """
        generator = torch.Generator().manual_seed(self.seed if seed is None else seed)
        noise = torch.randn(1, count, self.model.config.latent_dim, generator=generator).to(self.device)
        noise *= self.sampler.latent_temperature
        given = torch.from_numpy(piece.bar_latents[None, : bar - 1]).to(self.device)
        alone = bar == 1 or not self.model.config.hierarchy
        with torch.inference_mode():
            piece_latent = torch.from_numpy(piece.piece_latent[None]).to(self.device)
            drawn = self.latent.sample(noise, piece_latent, None if alone else given)
        found = drawn[0, 0 if alone else bar - 1 :].float().cpu().numpy()
        return found if self.model.config.hierarchy else np.repeat(found[:1], count, axis=0)

    def first_bars(self, piece: LatentPiece, bars: int) -> LatentPiece:
        """The first bars of a piece, with the latent of the whole piece; the piece itself where it has no more."""
        if bars >= piece.bars:
            return piece
        rows = {name: getattr(piece, name)[:bars] for name in ("bar_latents", "bar_deviations", "attributes")}
        return replace(piece, tokens=self.beginning(piece, bars + 1), **rows)

    def beginning(self, piece: LatentPiece, bar: int) -> NDArray[np.int64]:
        """Base tokens of a piece before a bar (counted from 1)."""
        if bar <= 1:
            return piece.tokens[:0]
        return first_bars(piece.tokens, self.codec.vocabulary, bar - 1)


def check_bars(bars: Sequence[int], piece: LatentPiece, key: str = "bars") -> None:
    """Refuse bars that a piece does not have; ``key`` is what the user calls them.

    Raises:
        AurlError: with the bar and what is allowed.
    """
    wrong = [bar for bar in bars if not 1 <= bar <= piece.bars]
    if wrong:
        raise AurlError(f"{key}={wrong[0]}: {piece.name or 'the piece'} has bars 1 to {piece.bars}")
