"""The one LightningModule: what happens to a batch. Optimisation is manual, because with a discriminator two optimisers
alternate: what belongs to the second is adversary.py.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from aurl.data.batching import IGNORED, PackedBatch, TrainingBatches
from aurl.data.codec import Codec
from aurl.data.merging import MergedBatches
from aurl.models.checkpoint import MODEL_PREFIX, describe, model_state
from aurl.models.latent import Latents
from aurl.models.latent_use import exchanged
from aurl.models.music_transformer_vae_gan import CRITIC_PREFIX, ModelOutput, MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.training.adversarial_config import Balance
from aurl.training.adversary import Adversary
from aurl.training.balancing import UncertaintyWeights
from aurl.training.config import OptimConfig, Rule
from aurl.training.constraints import MusicalConstraints
from aurl.training.finite import FiniteGuard
from aurl.training.loss_config import Annealing, LossConfig
from aurl.training.losses import (
    ATTRIBUTES_FEATURE,
    Losses,
    attribute_losses,
    bound_of_tokens,
    conditions_of,
    divergence,
    prior_loss,
    reconstruction,
)
from aurl.training.metrics import LatentUse, Likelihood
from aurl.training.muon import Muon, parameter_groups
from aurl.training.resuming import count_on, reopen_epoch
from aurl.training.schedules import cyclic_rise, linear_rise, warmup_cosine
from aurl.utils.errors import AurlError

log = logging.getLogger("aurl.training.module")

EMA_WARMUP = 10.0
"""The average forgets faster in its first steps: decay is at most (1 + step) / (EMA_WARMUP + step)."""


class MusicModule(L.LightningModule):
    """Trains a model on packed batches.

    Args:
        model: the model.
        codec: tokenizer of the corpus, kept in every checkpoint.
        optim: optimiser, schedule, clipping, averaging.
        config: the resolved config of the run (JSON types), kept in every checkpoint.
        programs: programs that the training pieces use, most frequent first, kept in every checkpoint; None: not known.
        loss: weights and schedules of the terms of the loss.
        token_weights: weight of each token in the reconstruction ``(V,)``; None for 1.
        unmet_tokens: ids of the base tokens that training never meets, kept in every checkpoint; None: not known.
    """

    token_weights: Tensor | None

    def __init__(
        self,
        model: MusicTransformerVAEGAN,
        codec: Codec,
        optim: OptimConfig,
        config: dict[str, Any] | None = None,
        programs: list[int] | None = None,
        loss: LossConfig | None = None,
        token_weights: Tensor | None = None,
        unmet_tokens: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.codec, self.optim_config, self.run_config = model, codec, optim, config or {}
        self.programs, self.unmet_tokens = programs, unmet_tokens
        self.loss_config = loss or LossConfig()
        self.validation, self.testing = Likelihood(), Likelihood()
        self.latent_use = LatentUse() if model.latent is not None else None
        # In a list, so that the average does not show up as parameters of this module.
        kept = [copy.deepcopy(model).without_discriminator().eval().requires_grad_(False)] if optim.ema_decay else []
        self._averaged = kept
        self.register_buffer("token_weights", token_weights, persistent=False)
        self.constraints = MusicalConstraints(self.loss_config, codec)
        self.balance = self._balance()
        self.adversary = Adversary(self) if model.discriminator is not None else None
        self.last_latents: Latents | None = None
        """Of the last batch of a model that has them."""
        self.batches_seen = 0
        self.batches_restored = 0
        """Batches that an earlier run had seen when this one continued it."""
        self.files_processed = 0
        self.files_augmented = 0
        self.guard = FiniteGuard(optim.lr)
        self.last_losses = {"recon": float("nan")}
        """Terms of the loss of the last batch."""
        self._restored: tuple[Tensor, Tensor | None, dict[str, int]] | None = None

    # -- forward ------------------------------------------------------------------------------------------------------

    def _output(self, model: MusicTransformerVAEGAN, batch: PackedBatch, **more: Any) -> ModelOutput:
        if model.config.prior_conditions:
            more["conditions"] = conditions_of(batch, model.config.prior_conditions)
        return model(batch.ids, MusicalTime(batch.index, batch.beat, batch.bar), batch.lengths, **more)

    def losses(self, batch: PackedBatch) -> Losses:
        """Terms of the loss of a training batch (losses.py)."""
        output = self._output(self.model, batch)
        smoothing, weights = self.optim_config.label_smoothing, self.token_weights
        bound = reconstruction(output.logits, batch.targets, smoothing, weights)
        with torch.no_grad():
            plain = not smoothing and weights is None
            recon = (bound if plain else reconstruction(output.logits, batch.targets)).item()
        constraints = self.constraints(output.logits, batch)
        terms = {"bound": bound, **self.constraints.weighted(constraints)}
        found = Losses(bound, recon, constraints={name: value.item() for name, value in constraints.items()})
        apart = bound.new_zeros(())
        if output.latents is not None and self.model.latent is not None:
            config, latents, scored = self.loss_config, output.latents, batch.targets != IGNORED
            self.last_latents = latents
            beta = self.kl_weight()
            terms["bound"] = bound + beta * divergence(latents, scored, config.free_bits, config.piece_free_bits)
            if beta < 1:
                apart = (1 - beta) * prior_loss(self.model.latent, latents, scored)
            found = found._replace(kl=divergence(latents, scored, 0.0, 0.0).item())
            if self._has_names:
                order, exclusion = self._attribute_losses(latents, batch, self.model.config.attributes)
                terms["attributes"] = config.attribute_weight * order + config.attribute_exclusion * exclusion
                found = found._replace(attributes=order.item(), exclusion=exclusion.item())
        total = torch.stack(list(terms.values())).sum() if self.balance is None else self.balance(terms)
        return found._replace(total=total + apart)

    @property
    def _has_names(self) -> bool:
        """Whether dimensions of latents are named and ordered."""
        has_latent, names = self.model.latent is not None, self.model.config.attributes
        return bool(has_latent and names and self.loss_config.attribute_weight)

    def _balance(self) -> UncertaintyWeights | None:
        if self.loss_config.balance is Balance.fixed:
            return None
        return UncertaintyWeights(["bound", *self.constraints.names, *(["attributes"] if self._has_names else [])])

    def _attribute_losses(self, latents: Latents, batch: PackedBatch, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        if ATTRIBUTES_FEATURE not in batch.features:
            raise AurlError(
                f"model.attributes needs the attributes of each bar; add {ATTRIBUTES_FEATURE} to data.features"
            )
        return attribute_losses(latents, batch, names, self.loss_config.attribute_slope)

    def kl_weight(self) -> float:
        """Weight of the KL term at this step."""
        config, step = self.loss_config, self.trainer.global_step
        if config.kl_annealing is Annealing.constant:
            return config.kl_weight
        rise = linear_rise if config.kl_annealing is Annealing.linear else cyclic_rise
        return config.kl_weight * rise(step, config.kl_zero_steps, config.kl_rise_steps)

    # -- training -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: PackedBatch, batch_idx: int) -> None:
        """Forward, backward and, after ``optim.accumulate`` batches, a step of the optimiser."""
        losses = self.losses(batch)
        self.batches_seen += 1
        self.files_processed += len(batch.lengths)
        self.files_augmented += batch.augmented
        if self.guard.accepts(losses.total, self.batches_seen):
            self.last_losses = losses.parts()
            self.manual_backward(losses.total / self.optim_config.accumulate)
            self.log_dict({f"train/loss/{name}": value for name, value in self.last_losses.items()})
            self.log("train/lr", self._scheduler().get_last_lr()[0])
            if losses.kl is not None:
                self.log("train/kl_weight", self.kl_weight())
            if self.balance is not None:
                self.log_dict({f"train/weight/{name}": value for name, value in self.balance.weights().items()})
            if self.adversary is not None and self.last_latents is not None:
                self.adversary.batch(batch, self.last_latents)
                self.last_losses |= self.adversary.last
            self.last_latents = None
        if self.batches_seen % self.optim_config.accumulate == 0:
            self._step()

    def _step(self) -> None:
        optimizers = self.optimizers()
        optimizer = optimizers[0] if isinstance(optimizers, list) else optimizers
        assert isinstance(optimizer, L.pytorch.core.optimizer.LightningOptimizer)
        limit = self.optim_config.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_([parameter for _, parameter in self.model.written_with()], limit)
        self.log("train/gradient_norm", norm)
        if not torch.isfinite(norm):
            self.guard.skip("batch %d has a gradient that is not finite and was skipped", self.batches_seen)
            optimizer.zero_grad()
        optimizer.step()
        optimizer.zero_grad()
        self._scheduler().step()
        self._average()
        if self.adversary is not None:
            self.adversary.step()

    def _scheduler(self) -> LambdaLR:
        schedulers = self.lr_schedulers()
        scheduler = schedulers[0] if isinstance(schedulers, list) else schedulers
        assert isinstance(scheduler, LambdaLR)
        return scheduler

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights (Polyak and Juditsky 1992)."""
        if not self._averaged:
            return
        step = self.trainer.global_step
        decay = min(self.optim_config.ema_decay, (1 + step) / (EMA_WARMUP + step))
        averages: list[Tensor] = list(self._averaged[0].parameters())
        torch._foreach_lerp_(averages, [parameter.detach() for _, parameter in self.model.written_with()], 1 - decay)
        buffers = dict(self.model.named_buffers())
        for name, kept in self._averaged[0].named_buffers():
            kept.copy_(buffers[name])

    def configure_optimizers(self) -> Any:
        """Matrices decay, norms do not; warm-up and cosine run over the whole training. A discriminator has its own."""
        config = self.optim_config
        groups = parameter_groups(self.model, config.weight_decay, without=CRITIC_PREFIX)
        if self.balance is not None:
            groups.append({"params": list(self.balance.parameters()), "weight_decay": 0.0, "muon": False})
        betas = (config.betas[0], config.betas[1])
        optimizer: AdamW
        if config.rule is Rule.muon:
            optimizer = Muon(groups, lr=config.lr, betas=betas)
        else:
            optimizer = AdamW(groups, lr=config.lr, betas=betas, fused=True)
        total = self.total_steps()

        def share(step: int) -> float:
            return warmup_cosine(step, config.warmup_steps, total, config.min_lr_share)

        own = {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, share)}
        if self.adversary is None:
            return own
        return [own, self.adversary.configure(total)]

    def total_steps(self) -> int:
        """Optimiser steps of the whole run, from trainer.max_steps or trainer.max_epochs, whichever comes first."""
        trainer = self.trainer
        steps = float("inf")
        if trainer.estimated_stepping_batches and trainer.max_epochs not in (None, -1):  # the first term loads the data
            steps = trainer.max_epochs * trainer.num_training_batches // self.optim_config.accumulate
        if trainer.max_steps > 0:
            steps = min(steps, trainer.max_steps)
        if steps == float("inf"):
            raise AurlError("training has no end; set trainer.max_epochs or trainer.max_steps")
        return max(1, int(steps))

    def on_fit_start(self) -> None:
        """Put the average beside the model."""
        if self._averaged:
            self._averaged[0].to(self.device)

    def on_train_start(self) -> None:
        """Continue dropout's random numbers and the position in the data where the checkpoint left them, and tell the
        loader how long training is, for the schedules of augmentation.

        Lightning restores loaders too, but not when the loader was built before the checkpoint was read, as it is here:
        the schedule needs to know how many batches there are.
        """
        if self._restored is not None:
            rng, cuda_rng, position = self._restored
            torch.set_rng_state(rng)
            if cuda_rng is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(cuda_rng.cpu(), self.device)
            self._loader().load_state_dict(position)
            count_on(self.trainer, self._loader())
            self._restored = None
        loader = self.trainer.train_dataloader
        if isinstance(loader, TrainingBatches | MergedBatches):  # any other loader has no schedules to follow
            loader.set_length(self.total_steps() * self.optim_config.accumulate, int(self.trainer.num_training_batches))

    def _loader(self) -> TrainingBatches | MergedBatches:
        loader = self.trainer.train_dataloader
        assert isinstance(loader, TrainingBatches | MergedBatches)
        return loader

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def sampling_model(self) -> MusicTransformerVAEGAN:
        """The model to validate, sample and publish: the averaged weights where there are any."""
        return self._averaged[0] if self._averaged else self.model

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        """Likelihood of held-out music, and whether latents are used."""
        model = self.sampling_model()
        output = self._scored(batch, batch_idx, self.validation)
        if self.latent_use is not None and output.latents is not None and self.latent_use.has_room:
            generator = torch.Generator(self.device).manual_seed(batch_idx)
            order = exchanged(output.latents.bars.count, generator)
            shuffled = None if order is None else self._output(model, batch, bar_latents=output.latents.bar[order])
            self.latent_use.update(output, shuffled, batch.targets)

    def _scored(self, batch: PackedBatch, batch_idx: int, likelihood: Likelihood) -> ModelOutput:
        """Add a held-out batch to a likelihood; latents are drawn with the batch's own random numbers, so that
        validation neither depends on training nor disturbs it.
        """
        generator = torch.Generator(self.device).manual_seed(batch_idx)
        output = self._output(self.sampling_model(), batch, generator=generator)
        likelihood.update(bound_of_tokens(output, batch.targets), batch)
        return output

    def on_validation_epoch_end(self) -> None:
        """Log nats per note, nats per beat and token perplexity."""
        self._report("val", self.validation)
        if self.latent_use is not None and self.latent_use.bars:
            figures = self.latent_use.compute()
            self.latent_use.reset()
            self.log_dict({f"val/latent/{name}": value for name, value in figures.items()}, rank_zero_only=True)
            if not self.trainer.sanity_checking:
                log.info("latents: %s", ", ".join(f"{name.replace('_', ' ')} {v:.3f}" for name, v in figures.items()))

    def test_step(self, batch: PackedBatch, batch_idx: int) -> None:
        """Likelihood of the test split."""
        self._scored(batch, batch_idx, self.testing)

    def on_test_epoch_end(self) -> None:
        """Log the same figures for the test split."""
        self._report("test", self.testing)

    def _report(self, stage: str, metric: Likelihood) -> None:
        figures = metric.compute()
        metric.reset()
        self.log_dict({f"{stage}/likelihood/{name}": value for name, value in figures.items()}, rank_zero_only=False)
        if not self.trainer.sanity_checking:
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items())
            log.info("%s after %d batches: %s", stage, self.batches_seen, shown)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """What has been done so far, JSON types."""
        return {
            "epoch": self.trainer.current_epoch,
            "steps": self.trainer.global_step,
            "batches": self.batches_seen,
            "files": self.files_processed,
            "augmented": self.files_augmented,
            "skipped": self.guard.skipped,
            "programs": self.programs,
            "unmet_tokens": self.unmet_tokens,
            "metrics": {name: float(value) for name, value in self.trainer.callback_metrics.items()},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add tokenizer, config, progress, averaged weights, random state and position in
        the data: a checkpoint needs nothing beside it.
        """
        checkpoint["aurl"] = describe(self.model, self.codec.to_dict(), self.run_config, self.progress())
        checkpoint["rng"] = torch.get_rng_state()
        # Of this process' GPU; with several, only the first one's dropout continues where it was.
        checkpoint["cuda_rng"] = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        checkpoint["position"] = self._loader().state_dict()
        if self._averaged:
            state = self._averaged[0].state_dict()
            checkpoint["averaged"] = {MODEL_PREFIX + name: tensor for name, tensor in state.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what :meth:`on_save_checkpoint` added.

        Raises:
            AurlError: the run was begun with another tokenizer, so the weights would read other ids.
        """
        if not self.codec.has_ids_of(Codec.from_dict(checkpoint["aurl"]["tokenizer"])):
            raise AurlError(
                "the run was begun with other tokens than these (tokenizer, tokenizer.bpe, or the music that "
                "tokenizer.bpe learned from); continue it with its own settings, or begin a new one"
            )
        reopen_epoch(checkpoint)
        progress = checkpoint["aurl"]["progress"]
        self.batches_seen, self.guard.skipped = progress["batches"], progress["skipped"]
        self.batches_restored = self.batches_seen
        self.files_processed, self.files_augmented = progress["files"], progress["augmented"]
        self._restored = checkpoint["rng"], checkpoint.get("cuda_rng"), checkpoint["position"]
        if self._averaged:
            self._averaged[0].load_state_dict(model_state(checkpoint))
