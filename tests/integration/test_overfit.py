"""The first thing a model of music must be able to do: learn one chorale by heart and play it back, note for note."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from aurl.data.bach import list_bach
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.sources import load_piece
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime

STEPS = 160
LEARNT = 0.1
"""Nats per token below which the chorale counts as known by heart."""


def notes_of(score: object) -> list[list[tuple[int, ...]]]:
    quarter = score.ticks_per_quarter  # type: ignore[attr-defined]
    return [
        sorted((note.time * 96 // quarter, note.duration * 96 // quarter, note.pitch) for note in track.notes)
        for track in score.tracks  # type: ignore[attr-defined]
    ]


def test_a_tiny_model_learns_one_chorale_by_heart_and_plays_it_back_exactly() -> None:
    piece = next(piece for piece in list_bach() if piece.split == "train")
    score = load_piece(piece)
    codec = Codec.from_config(TokenizerConfig())
    vocabulary = codec.vocabulary
    music = codec.encode(score)
    ids = np.concatenate(([vocabulary.bos], music, [vocabulary.eos])).astype(np.int64)
    bar, beat = vocabulary.musical_time(ids)
    tokens = len(ids) - 1
    time = MusicalTime(torch.arange(tokens), torch.from_numpy(beat[:-1]).float(), torch.from_numpy(bar[:-1]).long())
    torch.manual_seed(0)
    config = ModelConfig(hidden_dim=64, layers=2, heads=4, dropout=0.0, context=tokens + 8, hearing=True)
    model = MusicTransformerVAEGAN(config, vocabulary.size, TokenMeaning.of(vocabulary.meaning()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    inputs, targets = torch.from_numpy(ids[:-1]), torch.from_numpy(ids[1:])
    for _ in range(STEPS):
        loss = F.cross_entropy(model(inputs, time, [tokens]).logits, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    assert loss.item() < LEARNT
    request = GenerationRequest(sampler=SamplerConfig(greedy=True), bars=None)
    (sample,) = Generator(model, codec).generate(request)
    assert sample.ended
    assert sample.ids.tolist() == music.tolist()
    assert notes_of(sample.score) == notes_of(score)
