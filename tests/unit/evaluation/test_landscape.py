"""The loss around a model: directions are as long as the weights, the model is as it was, the files can be read."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from torch import nn

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.evaluation.landscape import measure_landscape, random_direction, write_landscape
from aurl.evaluation.likelihood import TokenPiece, score_corpus
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN

VOCABULARY = Codec.from_config(TokenizerConfig()).vocabulary
TUNE = "BOS_None Bar_None TimeSig_4/4 Position_0 Program_0 Pitch_60 Velocity_63 Duration_1.0.8 EOS_None"


@pytest.fixture(scope="module")
def model() -> MusicTransformerVAEGAN:
    torch.manual_seed(1)
    config = ModelConfig(hidden_dim=16, layers=1, heads=2, context=32)
    return MusicTransformerVAEGAN(config, VOCABULARY.size, TokenMeaning.of(VOCABULARY.meaning())).eval()


@pytest.fixture(scope="module")
def pieces() -> list[TokenPiece]:
    ids = np.array([VOCABULARY.index[name] for name in TUNE.split()])
    bars, beats = VOCABULARY.musical_time(ids)
    return [TokenPiece(ids, bars, beats, 1, 4.0)]


def test_each_row_of_a_direction_has_the_length_of_the_weights_row_and_vectors_stay() -> None:
    layer = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4))
    direction = random_direction(layer, torch.Generator().manual_seed(0))
    torch.testing.assert_close(direction["0.weight"].norm(dim=1), layer[0].weight.norm(dim=1))
    assert not any(direction[name].any() for name in ("0.bias", "1.weight", "1.bias"))
    other = random_direction(layer, torch.Generator().manual_seed(1))
    assert not torch.allclose(direction["0.weight"], other["0.weight"])


def test_the_middle_is_the_model_whose_weights_are_then_what_they_were(
    model: MusicTransformerVAEGAN, pieces: list[TokenPiece]
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told: list[tuple[int, int]] = []
    found = measure_landscape(model, pieces, 32, 3, 0.5, on_progress=lambda done, total: told.append((done, total)))
    assert found.at_model == pytest.approx(score_corpus(model, pieces, 32).nats_per_note, rel=1e-5)
    assert found.nats_per_note.shape == (3, 3) and len(np.unique(found.nats_per_note)) == 9
    assert told[-1] == (9, 9) and found.notes == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = measure_landscape(model, pieces, 32, 3, 0.5)
    assert np.array_equal(found.nats_per_note, again.nats_per_note)


def test_points_without_numbers_are_left_out_and_counted(
    model: MusicTransformerVAEGAN, pieces: list[TokenPiece], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level("WARNING", logger="aurl.evaluation.landscape"):
        found = measure_landscape(model, pieces, 32, 3, 1e38)
    assert np.isnan(found.nats_per_note).sum() == 8 and np.isfinite(found.at_model)
    assert "8 of 9 points give no numbers" in caplog.text


def test_the_picture_and_its_numbers_can_be_read(
    model: MusicTransformerVAEGAN, pieces: list[TokenPiece], tmp_path: Path
) -> None:
    found = measure_landscape(model, pieces, 32, 3, 0.2)
    picture, numbers = write_landscape(found, tmp_path / "around.png", "a model")
    assert matplotlib.image.imread(picture)[..., :3].std() > 0.05
    with np.load(numbers) as read:
        assert np.array_equal(read["nats_per_note"], found.nats_per_note)
        assert read["steps"].tolist() == [-0.2, 0.0, 0.2]
