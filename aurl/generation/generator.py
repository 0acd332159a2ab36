"""From a checkpoint and a request to scores: the one entry for commands, callbacks and Python users.

The batch under way is loop.py, the grammar grammar.py, a prompt from a user's score prompt.py, files export.py. Sample
number i is drawn with ``seed + i`` alone, whatever the batch size and whichever other samples are asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from symusic.core import ScoreTick, TempoTick, TempoTickList
from torch import Tensor

from aurl.data.codec import Codec
from aurl.data.kinds import Form, Kind
from aurl.data.vocabulary import DRUM_PROGRAM, Vocabulary
from aurl.generation.config import DRUMS_IN_REQUESTS, SamplerConfig, check_programs, check_sound
from aurl.generation.grammar import Ending, Rules
from aurl.generation.grammars import AnyGrammar, make_grammar
from aurl.generation.loop import Decoding, Finished
from aurl.generation.prompt import count_bars, first_bars, to_next_bar
from aurl.generation.steered import begin
from aurl.generation.steering import drawn_latents, encode_ids, given_latents
from aurl.models.checkpoint import Bundle, load_bundle
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.utils.errors import AurlError

log = logging.getLogger("aurl.generation.generator")

REPORT_STEPS = 32
"""Tokens of each sample between two calls of on_progress."""
MOST_TOKENS = 65_536
"""Default of max_tokens."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What to write.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """How tokens are drawn."""
    num_samples: int = 1
    """How many pieces."""
    batch_size: int = 64
    """Pieces under way at the same time; does not change the result."""
    bars: int | None = 16
    """Bars that are written, after those of the prompt; None lets the model end the piece."""
    ending: Ending = Ending.exact
    """``exact``: the piece has exactly that many bars; ``model``: the model may end it earlier."""
    max_tokens: int | None = None
    """Most tokens written for a piece (None: 65,536); on reaching it the piece ends after the note under way."""
    max_bar_tokens: int = 1024
    """Most tokens of one bar; on reaching it the next bar begins."""
    seed: int = 0
    """Sample number i is drawn with seed + i."""
    prompt: np.ndarray | None = None
    """Ids without BOS and EOS that every piece begins with, of whole bars (see prompt.py)."""
    prompt_bars: int | None = None
    """Take only so many bars of the prompt; None takes all."""
    allowed_programs: Sequence[int] | None = None
    """Programs that may be written (-1 or 128 drums); None allows those that training met."""
    allowed_pitches: Sequence[int] | None = None
    """Pitches that tracks other than drums may play; None allows all."""
    programs: Sequence[int] | None = None
    """Programs of the output's tracks in score order (128 turns a track into drums); one program is given to all
    tracks, drums apart. None keeps what was written."""
    tempo: float | None = None
    """Quarter notes a minute of the whole output; None keeps what was written."""
    conditions: Mapping[str, np.ndarray] | None = None
    """What the prior of latents is told of the bars to come, name -> ``(bars, C)`` (aurl.models.conditions), repeated
    to the end; for checkpoints that were trained with them."""
    latents: np.ndarray | None = None
    """Latents of the bars from bar 0 on, those of the prompt included, ``(bars, Z)`` for all samples or ``(num_samples,
    bars, Z)``, for a model that has them; None draws them from the prior."""

    def __post_init__(self) -> None:
        for key in ("num_samples", "batch_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)} is out of range; allowed: 1 or more")
        if self.prompt_bars is not None and self.prompt_bars < 1:
            raise ValueError(f"prompt_bars={self.prompt_bars} is out of range; allowed: 1 or more, or null for all")
        if not 0 <= self.seed < 2**63 - self.num_samples:
            raise ValueError(f"seed={self.seed} is out of range; allowed: 0 to 2**63 - 1 - num_samples")
        check_sound(self.tempo, self.programs)
        check_programs(self.allowed_programs or ())

    def rules(self, programs_met: Sequence[int] | None) -> Rules:
        """The rules of the grammar that follow from the request."""
        programs = self.allowed_programs if self.allowed_programs is not None else programs_met
        drums = {DRUMS_IN_REQUESTS: DRUM_PROGRAM}
        return Rules(
            bars=self.bars,
            ending=self.ending,
            max_tokens=MOST_TOKENS if self.max_tokens is None else self.max_tokens,
            max_bar_tokens=self.max_bar_tokens,
            programs=None if programs is None else frozenset(drums.get(each, each) for each in programs),
            pitches=None if self.allowed_pitches is None else frozenset(self.allowed_pitches),
        )


@dataclass
class Sample:
    """One written piece."""

    number: int
    """Which sample of the request it is, from 0."""
    ids: np.ndarray
    """Tokens without BOS and EOS, the prompt's included, int64."""
    score: ScoreTick
    """The music, with the request's tempo and programs."""
    seed: int
    """Seed that writes it again."""
    ended: bool
    """Whether it came to its end (the model's or the last bar asked for), rather than to max_tokens."""
    notes: int
    """Notes of the score."""
    bars: int | None = None
    """Bars of it as they were written, the prompt's included: a note that is held over the last bar line begins no
    further one. None: not known."""


@dataclass(frozen=True)
class Progress:
    """How far a request is."""

    finished: int
    """Pieces that are complete."""
    total: int
    """Pieces asked for."""
    notes: int
    """Notes written so far, the prompt's not counted."""
    seconds: float
    """Time since the start."""

    @property
    def notes_per_second(self) -> float:
        """Speed so far."""
        return self.notes / self.seconds if self.seconds > 0 else 0.0


class Generator:
    """Writes music with a trained model.

    Args:
        model: the model; it is put in eval mode while it writes.
        codec: the tokenizer it was trained with.
        device: where the model is.
        programs_met: programs (-1 drums) that training met, the most frequent first; None takes every program as met.

    Raises:
        AurlError: the model has another vocabulary than the codec.

    Example:
        >>> generator = Generator.from_checkpoint(Path("runs/bach/checkpoints/best.ckpt"))
        >>> samples = generator.generate(GenerationRequest(num_samples=8, bars=16, seed=7))
        >>> samples[0].score.dump_midi("first.mid")
    """

    def __init__(
        self,
        model: MusicTransformerVAEGAN,
        codec: Codec,
        device: str = "cpu",
        programs_met: Sequence[int] | None = None,
    ) -> None:
        if model.vocab_size != codec.size:
            raise AurlError(
                f"the model knows {model.vocab_size} tokens, the tokenizer {codec.size}; "
                "use the tokenizer that the model was trained with"
            )
        self.model, self.codec, self.device = model, codec, device
        self.programs_met = programs_met
        self._last_grammar: AnyGrammar | None = None

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "cpu") -> Generator:
        """Load a checkpoint (see ``aurl.models.checkpoint.load_bundle``)."""
        return cls.from_bundle(load_bundle(path, device), device)

    @classmethod
    def from_bundle(cls, bundle: Bundle, device: str = "cpu") -> Generator:
        """Use a checkpoint that is loaded already."""
        return cls(bundle.model, Codec.from_dict(bundle.tokenizer), device, bundle.progress.get("programs"))

    def generate(
        self, request: GenerationRequest, on_progress: Callable[[Progress], None] | None = None
    ) -> list[Sample]:
        """All samples of a request, in the order of their numbers; see :meth:`stream`."""
        return sorted(self.stream(request, on_progress), key=lambda sample: sample.number)

    def stream(
        self, request: GenerationRequest, on_progress: Callable[[Progress], None] | None = None
    ) -> Iterator[Sample]:
        """Samples as they are finished, the first ones first.

        Args:
            request: what to write.
            on_progress: called every few tokens.

        Raises:
            AurlError: a piece without notes came out, or the request leaves nothing to write.
        """
        grammar = self._grammar(request)
        if request.sampler.repetition_penalty > 1.0 and self.codec.merges is not None:
            log.warning("sampler.repetition_penalty has no effect: the checkpoint's learned tokens hold several notes")
        prompt = self._prompt_ids(request)
        meter = _Meter(request.num_samples, self.codec.vocabulary, prompt, on_progress)
        was_training = self.model.training
        self.model.eval()
        try:
            for first in range(0, request.num_samples, request.batch_size):
                numbers = range(first, min(first + request.batch_size, request.num_samples))
                seeds = [request.seed + number for number in numbers]
                latents = self._latents(request, prompt, numbers, seeds)
                decoding = begin(self.model, grammar, request.sampler, self.codec.merge(prompt), seeds, latents)
                while decoding.active:
                    finished = decoding.run(REPORT_STEPS)
                    samples = [self._sample(each, first, request) for each in finished]
                    meter.report(samples, decoding)
                    yield from samples
        finally:
            self.model.train(was_training)

    def _latents(
        self, request: GenerationRequest, prompt: np.ndarray, numbers: range, seeds: Sequence[int]
    ) -> Tensor | None:
        """Latents of the bars of the samples under way ``(B, bars, Z)``; None for a model without."""
        space = self.model.latent
        if space is None:
            if request.latents is not None or request.conditions:
                asked = "latents" if request.latents is not None else ", ".join(request.conditions or ())
                raise AurlError(f"{asked}: the checkpoint's model has no latents; train one with model=vae")
            return None
        if request.latents is not None:
            latents = given_latents(request.latents, request.num_samples, space.config.latent_dim)
            return latents[numbers.start : numbers.stop]
        encoded = None
        if len(prompt):  # its last token begins the first bar that is written
            ids = self.codec.merge(np.concatenate([[self.codec.vocabulary.bos], prompt[:-1]]))
            encoded = encode_ids(space, ids, self.codec, self.device)
        temperature = request.sampler.latent_temperature
        return drawn_latents(space, encoded, request.bars, seeds, temperature, request.conditions)

    def _grammar(self, request: GenerationRequest) -> AnyGrammar:
        """The tables for a request, kept from one request to the next with the same rules."""
        try:
            rules = request.rules(self.programs_met)
            if self._last_grammar is None or self._last_grammar.rules != rules:
                self._last_grammar = make_grammar(self.codec.vocabulary, rules, self.device, self.codec.merges)
            return self._last_grammar
        except ValueError as error:
            raise AurlError(str(error)) from error

    def _prompt_ids(self, request: GenerationRequest) -> np.ndarray:
        """The prompt's bars and the Bar token that begins the first written one."""
        vocabulary = self.codec.vocabulary
        if request.prompt is None or not len(request.prompt):
            return np.zeros(0, dtype=np.int64)
        ids = first_bars(np.asarray(request.prompt, dtype=np.int64), vocabulary, request.prompt_bars)
        opening = Kind.TIMESIG if vocabulary.form in (Form.shifts, Form.note_ends) else Kind.BAR
        if vocabulary.kind[ids[0]] != opening:
            raise AurlError("the prompt does not begin with a bar; make it with make_prompt or Codec.encode")
        return np.append(ids, to_next_bar(ids, vocabulary))

    def _sample(self, finished: Finished, first: int, request: GenerationRequest) -> Sample:
        score = self.codec.decode(finished.ids)
        notes = sum(len(track.notes) for track in score.tracks)
        number = first + finished.number
        if not notes:
            raise AurlError(
                f"sample {number} (seed {request.seed + number}) has no notes; raise max_tokens={request.max_tokens}, "
                "lower the temperature or train longer"
            )
        if not finished.ended:
            log.warning("sample %d was ended by max_tokens before its last bar; raise max_tokens", number)
        if request.tempo is not None:
            set_tempo(score, request.tempo)
        if request.programs is not None:
            set_programs(score, request.programs)
        ids = self.codec.expand(finished.ids)
        bars = count_bars(ids, self.codec.vocabulary)
        return Sample(number, ids, score, request.seed + number, finished.ended, notes, bars)


class _Meter:
    """Counts notes for on_progress: those of tokens, since a score holds what is doubled in a prompt only once."""

    def __init__(
        self,
        total: int,
        vocabulary: Vocabulary,
        prompt: np.ndarray,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._total, self._vocabulary, self._on_progress = total, vocabulary, on_progress
        self._prompt_notes = vocabulary.count_notes(prompt)
        self._finished = self._notes = 0
        self._start = time.perf_counter()

    def report(self, samples: list[Sample], decoding: Decoding) -> None:
        """Add finished samples and tell how far the request is."""
        self._finished += len(samples)
        self._notes += sum(self._vocabulary.count_notes(sample.ids) - self._prompt_notes for sample in samples)
        if self._on_progress is None:
            return
        under_way = decoding.notes - self._prompt_notes * decoding.active
        seconds = time.perf_counter() - self._start
        self._on_progress(Progress(self._finished, self._total, self._notes + under_way, seconds))


def set_tempo(score: ScoreTick, tempo: float) -> None:
    """Give a score one tempo in quarter notes a minute, in place."""
    score.tempos = TempoTickList([TempoTick(0, tempo)])


def set_programs(score: ScoreTick, programs: Sequence[int]) -> None:
    """Give the tracks of a score other programs, in place.

    Args:
        score: what to change.
        programs: one program for all tracks but drums, or one for each track in order (128 drums); tracks beyond the
            list keep theirs.
    """
    if len(programs) == 1 and programs[0] not in (DRUM_PROGRAM, DRUMS_IN_REQUESTS):
        for track in score.tracks:
            if not track.is_drum:
                track.program = programs[0]
        return
    for track, program in zip(score.tracks, programs, strict=False):
        track.is_drum = program in (DRUM_PROGRAM, DRUMS_IN_REQUESTS)
        track.program = 0 if track.is_drum else program
