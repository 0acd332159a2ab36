"""The adversarial part of a training step: what the module calls after the likelihood's backward pass.

One idea: the discriminator and the model learn from the same windows and the same judgement. The model's gradient is
taken at what is judged (states, tokens, latents) and carried on from there, so that it never touches the weights of the
discriminator; what the discriminator learns from is detached, so that it never touches the model's. Each has its own
optimiser; that of the discriminator is stepped here and does not count as a step of training.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from aurl.data.batching import PackedBatch
from aurl.data.kinds import Form
from aurl.generation.grammar import Rules
from aurl.generation.grammars import AnyGrammar, make_grammar
from aurl.models.config import Prior, Sees
from aurl.models.discriminator import Discriminator, Evidence, Judgement
from aurl.models.latent import Latents
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.training.adversarial import (
    accuracy,
    between,
    critic_loss,
    feature_matching,
    generator_loss,
    gradient_penalty,
    interpolation_penalty,
)
from aurl.training.adversarial_config import AdversarialLoss, RolloutLatents
from aurl.training.rollouts import Windows, choose_segments, evidence, real_windows, write
from aurl.training.schedules import Turn, adversarial_turn, rollout_length, warmup_cosine
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from aurl.training.module import MusicModule

log = logging.getLogger("aurl.training.adversary")

CRITIC_BETAS = (0.0, 0.99)
"""Decay rates of the moments of the discriminator's optimiser: no momentum, as is usual against a moving model."""
MOST_BARS = 16
"""Bars of a piece whose latents are judged, and drawn for what is written."""
TINY = 1e-12


class Judged(NamedTuple):
    """One side, real or written: what the discriminator is shown."""

    music: Evidence
    latents: Tensor
    """``(m, Z)``."""
    piece: Tensor
    """Which piece each is of ``(m,)``."""

    def inputs(self) -> list[Tensor]:
        """All that gradients can reach."""
        return [self.music.states, self.music.tokens, self.latents]

    def windows(self) -> list[Tensor]:
        """Window of each of their rows."""
        return [self.music.rows, self.music.rows, self.piece]

    def of(self, inputs: Sequence[Tensor]) -> Judged:
        """The same with other inputs."""
        states, tokens, latents = inputs
        return Judged(self.music._replace(states=states, tokens=tokens), latents, self.piece)


class Adversary:
    """What makes a training step adversarial.

    Args:
        module: with a model that has a discriminator.

    Raises:
        AurlError: a tokenizer whose tokens cannot be judged, or a prior that could not learn from it.
    """

    def __init__(self, module: MusicModule) -> None:
        codec = module.codec
        if codec.merges is not None or codec.vocabulary.form not in (Form.bars, Form.words):
            raise AurlError(
                "model=vae_gan judges tokens with bars, positions and durations; use tokenizer=remi or cpword, without "
                "tokenizer.bpe"
            )
        self.module, self.config = module, module.loss_config
        if set(self.config.critic_sees) == {Sees.latents} and module.model.config.prior is Prior.normal:
            raise AurlError(
                "loss.critic_sees=[latents] teaches nothing with model.prior=normal, which cannot learn; add states, "
                "tokens or music, or choose another prior"
            )
        bounded = module.model.config.spectral_norm or self.config.interpolation_weight
        if self.config.adversarial_loss is AdversarialLoss.wasserstein and not bounded:
            raise AurlError(
                "loss.adversarial_loss=wasserstein lets scores grow without end; set loss.interpolation_weight=10, or "
                "model.spectral_norm=true"
            )
        self.last: dict[str, float] = {}
        """Losses of the last judgement, for log lines."""
        self._grammar: AnyGrammar | None = None
        self._turn = Turn(False, False)
        most = self.config.critic_transpose
        self._transposed = torch.from_numpy(codec.vocabulary.transposition_table(-most, most).astype("int64"))

    # -- what the module calls ----------------------------------------------------------------------------------------

    def configure(self, total: int) -> dict[str, Any]:
        """The discriminator's optimiser and schedule, for ``total`` steps of the model's."""
        optim, start, every = self.module.optim_config, self.config.adversarial_start, self.config.adversarial_every
        first = start + every * (self.config.critic_warmup + self.config.critic_ratio - 1)
        if self.config.adversarial_weight and total <= first:
            log.warning(
                "the model learns nothing from the discriminator in these %d steps, but from step %d on; lower "
                "loss.adversarial_start, loss.adversarial_every or loss.critic_warmup, or train longer",
                total,
                first + 1,
            )
        critic = AdamW(self._critic.parameters(), lr=optim.critic_lr, betas=CRITIC_BETAS, weight_decay=0.0)

        def share(step: int) -> float:
            return warmup_cosine(step, optim.warmup_steps // every, (total - start) // every, optim.min_lr_share)

        return {"optimizer": critic, "lr_scheduler": LambdaLR(critic, share)}

    def batch(self, batch: PackedBatch, latents: Latents) -> None:
        """Judge, if it is time to, and add to the gradients of discriminator and model.

        Args:
            batch: what the model has just learned from; its gradients lie in the parameters.
            latents: of its bars.
        """
        config = self.config
        if not config.adversarial_weight:
            return
        step = self.module.trainer.global_step
        self._turn = adversarial_turn(
            step, config.adversarial_start, config.adversarial_every, config.critic_warmup, config.critic_ratio
        )
        if not self._turn.critic:
            return
        real, fake = self._sides(batch, latents, step - config.adversarial_start)
        self._learn(real, fake, step - config.adversarial_start)

    def step(self) -> None:
        """Step the discriminator's optimiser, if it is time to; called once for each step of the model's."""
        if not self._turn.critic:
            return
        self._turn = Turn(False, False)
        optimizer = cast("list[torch.optim.Optimizer]", self.module.optimizers(use_pl_optimizer=False))[1]
        parameters = list(self._critic.parameters())
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.module.optim_config.clip_norm or float("inf"))
        self._log(critic_gradient_norm=norm.item())
        if torch.isfinite(norm):
            optimizer.step()
        else:
            self.module.guard.skip("the discriminator's gradient is not finite; its step was skipped")
        optimizer.zero_grad()
        cast("list[Any]", self.module.lr_schedulers())[1].step()

    # -- the two sides ------------------------------------------------------------------------------------------------

    @property
    def _model(self) -> MusicTransformerVAEGAN:
        return self.module.model

    @property
    def _critic(self) -> Discriminator:
        assert self._model.discriminator is not None
        return self._model.discriminator

    def _sides(self, batch: PackedBatch, latents: Latents, since: int) -> tuple[Judged, Judged]:
        """Real music and what the model writes; the latter with gradients."""
        config = self.config
        wanted = rollout_length(since, config.rollout_first, config.rollout_last, config.rollout_grow_every)
        segments, judged = choose_segments(batch.lengths, wanted, config.rollouts)
        given = 1
        if config.rollout_latents is RolloutLatents.posterior:
            spare = min(batch.lengths[segment] for segment in segments.tolist()) - 1 - judged
            given += int(torch.randint(min(spare, judged) + 1, ()))
        real = real_windows(batch, segments, given, judged)
        bars, counts = self._bars_of(latents, segments)
        own = latents.bar.detach()[bars]  # (R, T, Z)
        drawn = self._drawn(own.shape, latents, bars)
        written_with = drawn if config.rollout_latents is RolloutLatents.prior else own
        with self._reading():
            written = write(self._model, self._rules(), real.ids[:, :given], written_with.detach(), judged)
            with torch.no_grad():
                real_side = self._judged(real, own, own, counts)
            with torch.set_grad_enabled(self._turn.generator):
                fake_side = self._judged(written, written_with, drawn, counts)
        self._log(rollout_tokens=judged)
        return real_side, fake_side

    def _bars_of(self, latents: Latents, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Bars of segments from their first on ``(R, T)``, the last repeated, and how many each has ``(R,)``."""
        sizes = torch.tensor(latents.bars.per_segment)
        first = (sizes.cumsum(0) - sizes)[segments]
        counts = sizes[segments].clamp(max=MOST_BARS)
        places = torch.minimum(torch.arange(int(counts.max())), counts[:, None] - 1)
        device = latents.bar.device
        return (first[:, None] + places).to(device), counts.to(device)

    def _drawn(self, shape: torch.Size, latents: Latents, bars: Tensor) -> Tensor:
        """Latents from the prior ``(R, T, Z)``, told what it is told of the real bars ``(R, T)``, with gradients if the
        model learns from them.
        """
        space, device = self._model.latent, self.module.device
        assert space is not None
        noise = torch.randn(shape, device=device)
        piece = torch.randn(shape[0], space.config.piece_latent_dim, device=device)
        with torch.set_grad_enabled(self._turn.generator), torch.autocast(device.type, enabled=False):
            known = None if latents.conditions is None else {k: v[bars] for k, v in latents.conditions.items()}
            return space.sample(noise, piece, conditions=known)

    def _judged(self, windows: Windows, steered_by: Tensor, latents: Tensor, counts: Tensor) -> Judged:
        music = evidence(self._model, windows, steered_by, self.config.gumbel_temperature)
        real = torch.arange(latents.shape[1], device=latents.device) < counts[:, None]  # (R, T)
        piece = torch.arange(len(counts), device=latents.device)[:, None].expand_as(real)
        return Judged(music, latents[real], piece[real])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Without dropout: real and written music are read alike."""
        self._model.eval()
        self._critic.train()
        try:
            yield
        finally:
            self._model.train()

    def _rules(self) -> AnyGrammar:
        if self._grammar is None:
            vocabulary = self.module.codec.vocabulary
            programs = self.module.programs
            rules = Rules(programs=None if programs is None else frozenset(programs))
            self._grammar = make_grammar(vocabulary, rules, self.module.device)
        return self._grammar

    # -- learning -----------------------------------------------------------------------------------------------------

    def _learn(self, real: Judged, fake: Judged, since: int) -> None:
        config, share = self.config, 1 / self.module.optim_config.accumulate
        shift = int(torch.randint(2 * config.critic_transpose + 1, ())) if config.critic_transpose else 0
        noise = config.instance_noise * max(0.0, 1 - since / config.instance_noise_steps)
        with torch.autocast(self.module.device.type, enabled=False):
            leaves = [[each.detach().requires_grad_() for each in side.inputs()] for side in (real, fake)]
            seen = [
                self._judge(side.of(own), since, shift, noise) for side, own in zip((real, fake), leaves, strict=True)
            ]
            loss = critic_loss(config.adversarial_loss, *seen)
            penalty = loss.new_zeros(())
            for weight, judgement, own in zip((config.r1_weight, config.r2_weight), seen, leaves, strict=True):
                if weight:
                    penalty = penalty + 0.5 * weight * gradient_penalty(judgement, own, config.rollouts)
            if config.interpolation_weight:
                windows, count = real.windows(), real.music.windows
                inputs = between(leaves[0], leaves[1], windows, torch.rand(count, device=self.module.device))
                judgement = self._judge(real.of(inputs), since, shift, noise)
                steepness = interpolation_penalty(judgement, inputs, windows, count)
                penalty = penalty + config.interpolation_weight * steepness
            adversarial = generator_loss(config.adversarial_loss, seen[1])
            matching = feature_matching(*seen)
            wanted = adversarial + config.feature_matching_weight * matching
            outer: Sequence[Tensor | None] = []
            if self._turn.generator:
                outer = torch.autograd.grad(wanted, leaves[1], retain_graph=True, allow_unused=True)
        self.module.manual_backward((loss + penalty) * share)
        self._note(loss, penalty, adversarial, matching, seen)
        if self._turn.generator:
            self._teach(fake.inputs(), outer, share)

    def _judge(self, side: Judged, since: int, shift: int, noise: float) -> Judgement:
        """All scores of one side."""
        sees = set(self.config.critic_sees)
        if since < self.config.tokens_after and not sees.isdisjoint({Sees.latents, Sees.states}):
            sees -= {Sees.tokens, Sees.music}
        music = side.music
        if shift:
            table = self._transposed[shift].to(music.ids.device)
            tokens = torch.zeros_like(music.tokens).index_add(1, table, music.tokens)
            music = music._replace(tokens=tokens, ids=table[music.ids])
        latents = side.latents
        if noise:
            states, tokens, latents = (
                each + noise * torch.randn_like(each) for each in (music.states, music.tokens, latents)
            )
            music = music._replace(states=states, tokens=tokens)
        scores: dict[str, Tensor] = {}
        layers: list[Tensor] = []
        owners: dict[str, Tensor] = {}
        judgements = []
        if Sees.latents in sees:
            judgements.append(self._critic.judge_latents(latents, side.piece))
        if sees - {Sees.latents}:
            judgements.append(self._critic.judge_music(music, sees))
        for judgement in judgements:
            scores, layers, owners = scores | judgement.scores, layers + judgement.layers, owners | judgement.owners
        return Judgement(scores, layers, owners)

    def _teach(self, inputs: Sequence[Tensor], outer: Sequence[Tensor | None], share: float) -> None:
        """Carry the gradient at what was judged on to the model, no larger than its share of what is there already."""
        reached = [
            (each * gradient).sum()
            for each, gradient in zip(inputs, outer, strict=True)
            if gradient is not None and each.requires_grad
        ]
        if not reached:
            return
        parameters = [parameter for _, parameter in self._model.written_with()]
        before = [None if each.grad is None else each.grad.clone() for each in parameters]
        self.module.manual_backward(torch.stack(reached).sum() * share)
        pairs = [(each, old) for each, old in zip(parameters, before, strict=True) if each.grad is not None]
        added = [cast(Tensor, each.grad) if old is None else cast(Tensor, each.grad) - old for each, old in pairs]
        there = _norm([old for _, old in pairs if old is not None])
        norm = _norm(added)
        factor = min(self.config.adversarial_weight, self.config.adversarial_share * there / max(norm, TINY))
        if not norm < float("inf"):  # not a number either
            factor, norm = 0.0, float("nan")
            self.module.guard.skip("the adversarial gradient is not finite and was left out")
            added = [torch.zeros_like(each) for each in added]
        for (each, old), part in zip(pairs, added, strict=True):
            each.grad = part * factor if old is None else old.add_(part, alpha=factor)
        self._log(gradient_ratio=factor * norm / max(there, TINY), raw_gradient_ratio=norm / max(there, TINY))
        self._log(weight=factor)

    def _note(
        self, loss: Tensor, penalty: Tensor, adversarial: Tensor, matching: Tensor, seen: Sequence[Judgement]
    ) -> None:
        self.last = {"critic": loss.item(), "adversarial": adversarial.item(), "feature_matching": matching.item()}
        self._log(**self.last, penalty=penalty.item())
        if self.config.adversarial_loss is not AdversarialLoss.wasserstein:  # whose scores have no zero
            real, written = accuracy(*seen)
            self._log(real_accuracy=real, written_accuracy=written)

    def _log(self, **figures: float) -> None:
        self.module.log_dict({f"train/adversarial/{name}": float(value) for name, value in figures.items()})


def _norm(gradients: Sequence[Tensor]) -> float:
    if not gradients:
        return 0.0
    return torch.stack(torch._foreach_norm(list(gradients))).norm().item()
