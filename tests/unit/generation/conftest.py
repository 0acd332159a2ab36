"""A tiny untrained model, the hardest case for a grammar, and a reader of the grammar written the plain way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.vocabulary import Kind, Vocabulary
from aurl.models import attention
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN


@pytest.fixture(scope="session")
def codec() -> Codec:
    return Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=4, tempos=8, tracks_per_program=2))


@pytest.fixture(scope="session")
def make_model(codec: Codec) -> Callable[..., MusicTransformerVAEGAN]:
    def make(seed: int = 0, **settings: object) -> MusicTransformerVAEGAN:
        torch.manual_seed(seed)
        values = {"hidden_dim": 16, "layers": 1, "heads": 2, "context": 256, "hearing": True} | settings
        meaning = TokenMeaning.of(codec.vocabulary.meaning())
        model = MusicTransformerVAEGAN(ModelConfig(**values), codec.vocabulary.size, meaning)  # type: ignore[arg-type]
        # Small initial weights make every token about equally likely; larger ones make an opinionated, wrong model.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(8.0)
        return model.eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def complaint(codec: Codec) -> Callable[[np.ndarray], str | None]:
    """``complaint(ids)`` is what is wrong with a piece (ids without BOS and EOS), None where nothing is."""
    return lambda ids: read_piece(codec.vocabulary, ids)


def read_piece(vocabulary: Vocabulary, ids: np.ndarray) -> str | None:
    """Read a piece token by token and stop at the first thing that is wrong."""
    kinds = [Kind(int(kind)) for kind in vocabulary.kind[ids]]
    at, metre, last, heard, track = 0, None, -1, set(), None

    def kind(offset: int = 0) -> Kind | None:
        return kinds[at + offset] if at + offset < len(kinds) else None

    while at < len(kinds):
        token = int(ids[at])
        if kind() is Kind.BAR:
            if kind(1) is not Kind.TIMESIG:
                return f"no time signature after the bar at {at}"
            metre, last, heard = int(vocabulary.bar_positions[ids[at + 1]]), -1, set()
            at += 2
        elif kind() is Kind.POSITION:
            position = int(vocabulary.value[token])
            if metre is None or not last < position < metre:
                return f"position {position} at {at} after {last} in a bar of {metre}"
            last, heard = position, set()
            at += 1
            if kind() not in (Kind.TEMPO, Kind.PROGRAM):
                return f"nothing at the position before {at}"
            at += kind() is Kind.TEMPO
        elif kind() is Kind.PROGRAM:
            track = token
            wanted = Kind.PITCH_DRUM if vocabulary.value[token] < 0 else Kind.PITCH
            if last < 0 or [kind(1), kind(2), kind(3)] != [wanted, Kind.VELOCITY, Kind.DURATION]:
                return f"the note at {at} is not complete"
            note = (track, int(vocabulary.value[ids[at + 1]]))
            if note in heard:
                return f"the note at {at} is heard twice"
            heard.add(note)
            at += 4
        else:
            return f"{vocabulary.tokens[token]} at {at} is out of place"
    return None


@pytest.fixture
def share_always(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """From the call on, beginnings are kept once however short they are and however few rows have them; the list gets
    the length of each.
    """

    def begin() -> list[int]:
        shared: list[int] = []
        share = attention.LayerCache.share

        def noted(cache: attention.LayerCache, batch_size: int, length: int) -> None:
            shared.append(length)
            share(cache, batch_size, length)

        monkeypatch.setattr(attention.LayerCache, "share", noted)
        for name, least in (("LEAST_SHARING", 2), ("LEAST_SHARED", 1), ("LEAST_LEFT", 2)):
            monkeypatch.setattr(attention, name, least)
        return shared

    return begin
