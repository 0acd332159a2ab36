"""Adversarial training from the command line to the checkpoint: who learns from what, starting from other modes, going
on after a kill, two processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from aurl.cli import app, train
from aurl.cli.build import build_data, build_module, build_trainer, run_training
from aurl.cli.conf import compose
from aurl.generation.generator import GenerationRequest, Generator
from aurl.models.checkpoint import load_bundle, read_checkpoint
from aurl.models.config import Sees
from aurl.training.module import MusicModule
from aurl.utils.errors import AurlError

SMALL = (
    *("model.hidden_dim=16", "model.layers=1", "model.heads=2", "model.context=64", "model.dropout=0.1"),
    *("data=synth", "data.pieces=24", "data.batch_tokens=512", "data.workers=1", "trainer.accelerator=cpu"),
    *("logger=none", "callbacks.samples=null", "trainer.enable_progress_bar=false", "trainer.precision=32-true"),
    *("optim.warmup_steps=2", "callbacks.early_stopping=null", "trainer.limit_val_batches=1"),
)
LATENT = ("model.encoder_layers=1", "model.latent_dim=8", "model.piece_latent_dim=4")
JUDGED = (
    *("model=vae_gan", "model.critic_dim=16", "loss.adversarial_start=0", "loss.adversarial_every=2"),
    *("loss.critic_warmup=1", "loss.tokens_after=6", "loss.rollouts=3", "loss.rollout_first=8"),
    *("loss.rollout_last=24", "loss.rollout_grow_every=4"),
)
GAN = (*SMALL, *JUDGED, *LATENT)
EVERY_OPTION = (
    *("loss.r1_weight=0.1", "loss.r2_weight=0.1", "loss.instance_noise=0.1", "loss.critic_transpose=4"),
    *("loss.adversarial_loss=wasserstein", "loss.interpolation_weight=1"),
    *("loss.rollout_latents=posterior", "loss.token_weights.pitch=2", "loss.token_weights.velocity=0.5"),
    *("loss.key_weight=1", "loss.density_weight=0.1", "loss.range_weight=1", "loss.balance=uncertainty"),
    *("optim.ema_decay=0.9", "optim.accumulate=2", "optim.rule=muon"),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def settings(cache: Path, output: Path, *more: str) -> Any:
    return compose("train", [*GAN, f"paths.cache={cache}", f"paths.output={output}", *more])


class Witness(L.Callback):
    """Notes which parameters changed with each batch."""

    def __init__(self) -> None:
        self.changed: list[dict[str, bool]] = []
        self.figures: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: MusicModule, *args: Any) -> None:
        self._before = {name: value.detach().clone() for name, value in pl_module.model.named_parameters()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: MusicModule, *args: Any) -> None:
        now = dict(pl_module.model.named_parameters())
        self.changed.append({name: not torch.equal(old, now[name]) for name, old in self._before.items()})
        self.figures.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(cfg: Any, folder: Path, callbacks: Any = ()) -> MusicModule:
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    torch.manual_seed(5)
    module = build_module(cfg, data)
    trainer = build_trainer(cfg, folder)
    trainer.callbacks.extend(callbacks)
    trainer.fit(module, datamodule=data)
    return module


def is_critic(name: str) -> bool:
    return name.startswith("discriminator.")


def test_each_optimiser_holds_and_moves_its_own_parameters_alone(cache: Path, tmp_path: Path) -> None:
    witness = Witness()
    module = fit(settings(cache, tmp_path, "trainer.max_steps=12"), tmp_path, [witness])
    held = [{id(p) for group in each.param_groups for p in group["params"]} for each in module.trainer.optimizers]
    named = dict(module.model.named_parameters())
    assert held[0] == {id(value) for name, value in named.items() if not is_critic(name)}
    assert held[1] == {id(value) for name, value in named.items() if is_critic(name)}
    for step, changed in enumerate(witness.changed):
        critic = [moved for name, moved in changed.items() if is_critic(name)]
        # The discriminator learns every second step; the rest learns in every step.
        assert any(critic) == (step % 2 == 0)
        assert any(moved for name, moved in changed.items() if not is_critic(name))
    assert module.trainer.global_step == 12  # steps of the discriminator do not count
    assert module.lr_schedulers()[1].last_epoch == 6


def test_the_model_learns_from_the_critic_after_its_warmup_and_no_more_than_its_share(
    cache: Path, tmp_path: Path
) -> None:
    witness = Witness()
    fit(settings(cache, tmp_path, "trainer.max_steps=12"), tmp_path, [witness])
    ratio = "train/adversarial/gradient_ratio"
    assert ratio not in witness.figures[0] and ratio in witness.figures[2]
    assert 0 < witness.figures[-1][ratio] <= 0.1 + 1e-6
    names = ("critic", "adversarial", "feature_matching", "real_accuracy", "written_accuracy", "critic_gradient_norm")
    assert {f"train/adversarial/{name}" for name in names} <= set(witness.figures[0])
    lengths = [figures["train/adversarial/rollout_tokens"] for figures in witness.figures[::2]]
    assert lengths == [8, 8, 16, 16, 24, 24]


def gradients(module: MusicModule) -> dict[str, Tensor]:
    return {name: value.grad.clone() for name, value in module.model.named_parameters() if value.grad is not None}


def test_judging_moves_prior_and_decoder_as_much_as_asked_and_leaves_the_encoder_alone(
    cache: Path, tmp_path: Path
) -> None:
    found: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    class Look(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: MusicModule) -> None:
            assert pl_module.adversary is not None
            judge = pl_module.adversary.batch

            def batch(*args: Any) -> None:
                before = gradients(pl_module)
                judge(*args)
                found.append((before, gradients(pl_module)))

            pl_module.adversary.batch = batch  # type: ignore[method-assign]

    cfg = settings(cache, tmp_path, "trainer.max_steps=1", "loss.critic_warmup=0", "loss.tokens_after=0")
    fit(cfg, tmp_path, [Look()])
    before, after = found[0]
    assert not any(is_critic(name) for name in before) and any(is_critic(name) for name in after)
    added = {name: after[name] - old for name, old in before.items()}
    moved = {name for name, gradient in added.items() if gradient.norm() > 1e-6 * before[name].norm() + 1e-12}
    assert any(name.startswith("decoder.blocks.") for name in moved)
    assert any(name.startswith("latent.prior.") for name in moved)
    assert not any(name.startswith(("latent.encoder.", "latent.to_bar.")) for name in moved)
    norms = [torch.stack([value.norm() for value in each.values()]).norm() for each in (added, before)]
    assert float(norms[0] / norms[1]) == pytest.approx(0.1, rel=0.02)  # the share, since the weight would allow more


@pytest.mark.parametrize("sees", [[Sees.latents], [Sees.states], [Sees.tokens], [Sees.music]])
def test_each_thing_that_is_seen_can_be_judged_by_itself(cache: Path, tmp_path: Path, sees: list[Sees]) -> None:
    named = f"loss.critic_sees=[{sees[0].value}]"
    witness = Witness()
    fit(settings(cache, tmp_path, named, "trainer.max_steps=4", "loss.tokens_after=0"), tmp_path, [witness])
    assert witness.figures[-1]["train/adversarial/gradient_ratio"] > 0


@pytest.mark.parametrize(
    ("prior", "learns"),
    [
        (("model.prior=mixture",), True),
        (("model.prior_conditions=[key,chords]",), True),
        (("model.prior=normal", "loss.critic_sees=[latents,states]"), False),
    ],
)
def test_every_prior_can_be_judged_and_learns_if_it_can(
    cache: Path, tmp_path: Path, prior: tuple[str, ...], learns: bool
) -> None:
    witness = Witness()
    module = fit(settings(cache, tmp_path, *prior, "trainer.max_steps=4", "loss.tokens_after=0"), tmp_path, [witness])
    assert witness.figures[-1]["train/adversarial/gradient_ratio"] > 0
    assert any("prior" in name for name, _ in module.model.written_with()) == learns
    assert all(torch.isfinite(value).all() for value in module.model.parameters())


def test_judging_latents_alone_of_a_prior_that_cannot_learn_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(AurlError, match=r"loss\.critic_sees=\[latents\] teaches nothing with model\.prior=normal"):
        run_training(settings(cache, tmp_path, "model.prior=normal", "loss.critic_sees=[latents]"))


def test_wasserstein_scores_without_bounds_are_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(AurlError, match=r"wasserstein lets scores grow without end; set loss\.interpolation_weight=10"):
        run_training(settings(cache, tmp_path, "loss.adversarial_loss=wasserstein", "model.spectral_norm=false"))


def test_a_wasserstein_critic_has_no_accuracies(cache: Path, tmp_path: Path) -> None:
    witness = Witness()
    kind = ("loss.adversarial_loss=wasserstein", "loss.interpolation_weight=1", "trainer.max_steps=1")
    fit(settings(cache, tmp_path, *kind), tmp_path, [witness])
    names = {name.rpartition("/")[2] for name in witness.figures[0]}
    assert {"critic", "penalty"} <= names and not {"real_accuracy", "written_accuracy"} & names


def test_a_weight_of_nought_switches_judging_off(cache: Path, tmp_path: Path) -> None:
    witness = Witness()
    fit(settings(cache, tmp_path, "loss.adversarial_weight=0", "trainer.max_steps=3"), tmp_path, [witness])
    assert not any(is_critic(name) and moved for changed in witness.changed for name, moved in changed.items())


class StopAfter(L.Callback):
    """Ends training in the middle, as a kill would."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: MusicModule, *args: Any) -> None:
        if pl_module.batches_seen >= 9:
            raise RuntimeError("killed")


def test_a_killed_run_goes_on_bit_by_bit_with_every_option_on(cache: Path, tmp_path: Path) -> None:
    more = (*EVERY_OPTION, "trainer.max_epochs=-1", "trainer.max_steps=7", "callbacks.checkpoints.every_n_batches=4")
    whole = fit(settings(cache, tmp_path / "whole", *more), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        fit(settings(cache, tmp_path / "killed", *more), tmp_path / "killed", [StopAfter()])
    last = tmp_path / "killed/checkpoints/last.ckpt"
    assert read_checkpoint(last)["aurl"]["progress"]["batches"] == 8
    cfg = settings(cache, tmp_path / "on", *more)
    data = build_data(cfg)
    data.setup()
    torch.manual_seed(6)
    resumed = build_module(cfg, data)
    build_trainer(cfg, tmp_path / "on").fit(resumed, datamodule=data, ckpt_path=str(last), weights_only=True)
    assert resumed.batches_seen == whole.batches_seen == 14
    states = [module.state_dict() for module in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    assert any("discriminator" in name for name in states[0]) and "balance.log_variance" in states[0]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    for mine, theirs in zip(whole.sampling_model().parameters(), resumed.sampling_model().parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_checkpoint_is_used_without_its_discriminator_and_writes_music(cache: Path, tmp_path: Path) -> None:
    result = run_training(settings(cache, tmp_path, "optim.ema_decay=0.9", "trainer.max_steps=4"))
    assert result.last is not None
    bundle = load_bundle(result.last)
    assert bundle.model.config.has_discriminator and bundle.model.discriminator is None
    assert Generator.from_checkpoint(result.last).generate(GenerationRequest(bars=2, seed=1))[0].notes > 0


def test_tokens_that_cannot_be_judged_are_refused_in_one_line(cache: Path, tmp_path: Path) -> None:
    for choice in (("tokenizer=midi_like",), ("tokenizer.bpe=1200",)):
        with pytest.raises(AurlError, match=r"use tokenizer=remi or cpword, without tokenizer\.bpe"):
            run_training(settings(cache, tmp_path, *choice))
    for key in ("loss.token_weights.pitch=2", "loss.key_weight=1"):
        name = key.split("=", maxsplit=1)[0].removesuffix(".pitch")
        with pytest.raises(AurlError, match=f"{name} needs tokens that say one thing each; switch tokenizer.bpe off"):
            run_training(settings(cache, tmp_path, "model=vae", "tokenizer.bpe=1200", key))
    silent = [f"loss.token_weights.{kind}=0" for kind in compose("train", []).loss.token_weights]
    with pytest.raises(AurlError, match="leaves no kind of token with a weight"):
        run_training(settings(cache, tmp_path, *silent))


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["aurl"])
    monkeypatch.setenv("AURL_CACHE", str(cache))
    return tmp_path


def run(*arguments: str) -> int:
    return app.execute("train", train.train, arguments)


def log_of(folder: Path, name: str) -> str:
    (run_folder,) = folder.glob(f"runs/train/*_{name}")
    return (run_folder / "aurl.log").read_text()


def weights_of(folder: Path, name: str) -> dict[str, Tensor]:
    (run_folder,) = folder.glob(f"runs/train/*_{name}")
    return read_checkpoint(run_folder / "checkpoints/last.ckpt")["state_dict"]


def test_a_transformer_starts_a_vae_and_a_vae_one_with_a_discriminator(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = ("optim.lr=1e-12", "optim.weight_decay=0", "trainer.max_steps=1")
    assert run(*SMALL, "trainer.max_steps=2", "run_name=plain") == 0
    assert run(*SMALL, "model=vae", *LATENT, *still, "init_from=last", "run_name=latent") == 0
    assert "; begin anew: latent" in log_of(here, "latent")
    assert run(*GAN, *still, "init_from=best", "run_name=judged") == 0
    assert "; begin anew: discriminator" in log_of(here, "judged")
    plain, latent, judged = (weights_of(here, name) for name in ("plain", "latent", "judged"))
    assert plain.keys() < latent.keys() < judged.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(judged[name], weight, atol=1e-6, rtol=1e-5)
    assert run(*SMALL, *still, "init_from=last", "run_name=back") == 0
    assert "; left behind: discriminator, latent" in log_of(here, "back")
    assert run(*GAN, *still, "init_from=best", "model.critic_layers=1", "run_name=shallow") == 0
    assert run(*GAN, *still, "init_from=last", "run_name=deeper") == 0
    assert "; begin anew: part of discriminator" in log_of(here, "deeper")
    assert "learns nothing from the discriminator in these 1 steps, but from step 3 on" in log_of(here, "deeper")
    capsys.readouterr()
    for wrong, message in (
        ("model.hidden_dim=32", "has another size: decoder.embedding.weight is 965x16 there and 965x32 here"),
        ("tokenizer=midi_like", "was trained with other tokens"),
        ("init_from=nothing", "error: init_from=nothing does not exist"),
    ):
        assert run(*SMALL, "init_from=last", "trainer.max_steps=1", wrong) == app.FAILED
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert len(errors) == 1 and message in errors[0]


def test_a_continued_run_does_not_look_for_what_it_was_started_from(here: Path) -> None:
    assert run(*SMALL, "trainer.max_steps=1", "run_name=first") == 0
    (first,) = here.glob("runs/train/*_first")
    start = here / "start.ckpt"
    start.write_bytes((first / "checkpoints/last.ckpt").read_bytes())
    assert run(*SMALL, "trainer.max_steps=2", f"init_from={start}", "run_name=second") == 0
    start.unlink()
    assert run("ckpt=last", "trainer.max_steps=3", "run_name=third") == 0


@pytest.mark.slow
def test_two_processes_train_it_and_end_with_equal_parameters(here: Path) -> None:
    tests = Path(__file__).resolve().parent
    search = os.pathsep.join([str(tests), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
    command = [
        *(sys.executable, "-m", "aurl.cli.train", *GAN, "data.pieces=40", "trainer.devices=2", "trainer.max_steps=20"),
        *(f"+callbacks.keep={{_target_:rank_parameters.KeepParameters,folder:{here}}}", "optim.accumulate=1"),
    ]
    done = subprocess.run(
        command, cwd=here, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(here / f"rank{rank}.pt", weights_only=False) for rank in (0, 1))
    assert first["batches"] == second["batches"] == 20
    assert any("discriminator" in name for name in first["parameters"])
    for name, value in first["parameters"].items():
        assert torch.equal(value, second["parameters"][name]), name
