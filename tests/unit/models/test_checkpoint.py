"""Checkpoints: self-contained, safe to open, and clear about what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aurl.models.checkpoint import load_bundle, save_bundle
from aurl.models.config import ModelConfig
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.utils.errors import AurlError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=1, heads=4, kv_heads=2), 50)
    save_bundle(tmp_path / "model.ckpt", model, {"kind": "remi"}, {"seed": 3}, {"epoch": 1})
    return tmp_path / "model.ckpt"


def test_a_checkpoint_holds_all_that_is_needed(saved: Path) -> None:
    bundle = load_bundle(saved)
    assert bundle.tokenizer == {"kind": "remi"}
    assert (bundle.config, bundle.progress) == ({"seed": 3}, {"epoch": 1})
    assert bundle.model.config == ModelConfig(hidden_dim=32, layers=1, heads=4, kv_heads=2)
    assert not bundle.model.training
    torch.testing.assert_close(
        bundle.model.state_dict(),
        {name.removeprefix("model."): value for name, value in torch.load(saved)["state_dict"].items()},
    )


def test_averaged_weights_are_preferred(saved: Path) -> None:
    content = torch.load(saved)
    content["averaged"] = {name: torch.full_like(value, 0.5) for name, value in content["state_dict"].items()}
    torch.save(content, saved)
    assert all((parameter == 0.5).all() for parameter in load_bundle(saved).model.parameters())


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(AurlError, match=r"no\.ckpt does not exist; give a \.ckpt file"):
        load_bundle(tmp_path / "no.ckpt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.ckpt").write_bytes(content)
    with pytest.raises(AurlError, match="damaged or not a checkpoint") as caught:
        load_bundle(tmp_path / "bad.ckpt")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    with pytest.raises(AurlError, match="damaged"):
        load_bundle(saved)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"aurl": Attack(), "state_dict": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(AurlError):
        load_bundle(tmp_path / "evil.ckpt")
    assert not (tmp_path / "touched").exists()


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(AurlError, match="not a checkpoint of aurl"):
        load_bundle(tmp_path / "foreign.ckpt")


def test_another_format_and_unfitting_weights_are_refused(saved: Path) -> None:
    content = torch.load(saved)
    content["aurl"]["vocab_size"] = 51
    torch.save(content, saved)
    with pytest.raises(AurlError, match=r"does not fit .*\(size mismatch for decoder\.\S+weight.*train again$"):
        load_bundle(saved)
    content["aurl"]["format"] = 99
    torch.save(content, saved)
    with pytest.raises(AurlError, match="has format 99"):
        load_bundle(saved)


def test_a_model_that_listens_brings_the_meaning_of_its_tokens(tmp_path: Path) -> None:
    meaning = TokenMeaning.unknown(50)
    meaning.pitch[10:20] = torch.arange(60, 70)
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=1, heads=4, hearing=True), 50, meaning)
    save_bundle(tmp_path / "model.ckpt", model, {}, {}, {})
    loaded = load_bundle(tmp_path / "model.ckpt").model
    assert loaded.decoder.ear is not None
    assert loaded.decoder.ear.meaning.pitch.tolist() == meaning.pitch.tolist()
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())
