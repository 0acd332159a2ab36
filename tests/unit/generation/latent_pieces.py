"""A tiny untrained model with latents and pieces for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from symusic import Note, Score, TimeSignature, Track

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.merges import Merges
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import Generator
from aurl.generation.latent_tools import LatentTools
from aurl.models.config import Attention, Mode, ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN

ATTRIBUTE_DIMENSIONS = ["density", "mean_pitch"]
MakeModel = Callable[..., MusicTransformerVAEGAN]


def song(bars: int = 4, seed: int = 0) -> Any:
    """Bars of 2/4 with random notes on quarters and eighths; in every bar at least one."""
    generator = np.random.default_rng(seed)
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 2, 4))
    track = Track(program=0)
    for bar in range(bars):
        for eighth in range(4):
            if eighth == 0 or generator.random() < 0.6:
                track.notes.append(Note(960 * bar + 240 * eighth, 240, int(generator.integers(48, 84)), 80))
    score.tracks.append(track)
    return score


def make_tools(
    codec: Codec,
    make_model: MakeModel,
    context: int = 512,
    attention: Attention = Attention.full,
    hierarchy: bool = True,
    **settings: Any,
) -> LatentTools:
    """Tools of a model that is sure of what it writes: greedy choices are far apart."""
    model = make_model(
        mode=Mode.vae,
        latent_dim=6,
        piece_latent_dim=3,
        encoder_layers=1,
        attributes=ATTRIBUTE_DIMENSIONS if hierarchy else [],
        hierarchy=hierarchy,
        context=context,
        attention=attention,
        window=24,
        layers=2,
    )
    assert model.latent is not None
    model.latent.spread_std.fill_(2.0)
    generator = Generator(model, codec, programs_met=[0])
    return LatentTools(generator, settings.pop("sampler", SamplerConfig(greedy=True)), **settings)


def make_learned_tools(**settings: Any) -> LatentTools:
    """Tools of a model that reads and writes learned tokens (``tokenizer.bpe``)."""
    plain = Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=4, tempos=8))
    pieces = [plain.encode(plain.prepare_score(song(8, seed))[0]) for seed in range(6)]
    codec = plain.with_merges(Merges.learn(pieces, plain.vocabulary, plain.vocabulary.size + 20))
    torch.manual_seed(0)
    size = {"hidden_dim": 16, "heads": 2, "layers": 1, "context": 256, "latent_dim": 6, "piece_latent_dim": 3}
    model = MusicTransformerVAEGAN(ModelConfig(mode=Mode.vae, attributes=ATTRIBUTE_DIMENSIONS, **size), codec.size)  # type: ignore[arg-type]
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(8.0)
    sampler = settings.pop("sampler", SamplerConfig(greedy=True))
    return LatentTools(Generator(model.eval().requires_grad_(False), codec, programs_met=[0]), sampler, **settings)
