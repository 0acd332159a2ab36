"""Musical constraints: what the predicted distributions, taken together, say about key, density and range, held against
the music that is being predicted. Their weights are loss.key_weight, loss.density_weight, loss.range_weight.

A likelihood judges each token by itself; these judge sums over a bar or a segment.

Axes: N tokens, S segments, M bars, V vocabulary, P the 128 MIDI pitches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aurl.data.batching import IGNORED, PackedBatch
from aurl.data.codec import Codec
from aurl.models.bars import bars_of
from aurl.music.keys import DEFAULT_PROFILE, PROFILES
from aurl.training.adversarial_config import AdversarialConfig
from aurl.utils.errors import AurlError

OCTAVE = 12
PITCHES = 128
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10, 11)
"""Natural minor and its leading note."""


class MusicalConstraints:
    """The constraints that a config asks for.

    Args:
        config: their weights.
        codec: what tokens mean.

    Raises:
        AurlError: tokens that hold several notes, so that none of them says a pitch.
    """

    def __init__(self, config: AdversarialConfig, codec: Codec) -> None:
        weights = {"key": config.key_weight, "density": config.density_weight, "range": config.range_weight}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        if self.weights and codec.merges is not None:
            raise AurlError(
                f"loss.{next(iter(self.weights))}_weight needs tokens that say one thing each; switch tokenizer.bpe off"
            )
        self._pitch = torch.from_numpy(codec.vocabulary.meaning()["pitch"])

    @property
    def names(self) -> list[str]:
        """Of those with a weight."""
        return list(self.weights)

    def __call__(self, logits: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        """Each by name, without its weight."""
        if not self.weights:
            return {}
        self._pitch = self._pitch.to(logits.device)
        predicted = predicted_pitches(logits, batch.targets, self._pitch)
        segments = len(batch.lengths)
        sizes = torch.tensor(batch.lengths)
        segment = torch.arange(segments).repeat_interleave(sizes).to(logits.device)
        found = {}
        if "key" in self.weights:
            found["key"] = key_loss(predicted, segment, segments)
        if "density" in self.weights:
            bars = bars_of(batch.bar, batch.lengths)
            found["density"] = density_loss(predicted, bars.of_token, bars.count)
        if "range" in self.weights:
            found["range"] = range_loss(predicted, segment, segments)
        return found

    def weighted(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each times its weight."""
        return {name: self.weights[name] * value for name, value in found.items()}


class Predicted(NamedTuple):
    """Pitches of a batch, as predicted and as they are."""

    probability: Tensor
    """Of a note at each pitch, next ``(N, P)``; drums and all other tokens are the rest. 0 where nothing is scored."""
    pitch: Tensor
    """MIDI pitch of the next token where it is a scored Pitch token, else -1 ``(N,)``."""


def predicted_pitches(logits: Tensor, targets: Tensor, pitch_of_token: Tensor) -> Predicted:
    """Read pitches off predictions.

    Args:
        logits: ``(N, V)``.
        targets: ``(N,)``.
        pitch_of_token: MIDI pitch of each token, -1 for others ``(V,)``.
    """
    tokens = (pitch_of_token >= 0).nonzero().squeeze(1)
    scored = targets != IGNORED
    share = logits.float().softmax(-1)[:, tokens] * scored[:, None]
    probability = share.new_zeros(len(share), PITCHES).index_add(1, pitch_of_token[tokens], share)
    return Predicted(probability, torch.where(scored, pitch_of_token[targets.clamp(min=0)], -1))


def key_loss(predicted: Predicted, segment: Tensor, segments: int) -> Tensor:
    """How much more of the predicted notes lies outside the key of their segment than of its real notes: the mean over
    segments of ``max(0, predicted share - real share)``.

    The key is the one whose profile the real notes fit best (aurl.music.keys); its scale is diatonic, in minor with the
    leading note.

    Args:
        predicted: of the batch.
        segment: of each token ``(N,)``.
        segments: how many S.
    """
    real = _counts(predicted.pitch, segment, segments)
    expected = predicted.probability.new_zeros(segments, PITCHES).index_add(0, segment, predicted.probability)
    classes, expected_classes = _fold(real), _fold(expected)
    profiles, scales = _keys(real.device)
    centred = classes - classes.mean(1, keepdim=True)
    key = (F.normalize(centred, dim=1) @ profiles.T).argmax(1)  # (S,)
    outside = 1 - scales[key]
    shares = [(each * outside).sum(1) / each.sum(1).clamp(min=1e-6) for each in (expected_classes, classes)]
    return F.relu(shares[0] - shares[1]).mean()


def density_loss(predicted: Predicted, bar: Tensor, bars: int) -> Tensor:
    """Squared relative difference of expected and real number of notes of a bar, ``mean ((e - n) / (n + 1))^2``.

    Args:
        predicted: of the batch.
        bar: of each token ``(N,)``, 0 to M - 1.
        bars: how many M.
    """
    expected = predicted.probability.new_zeros(bars).index_add(0, bar, predicted.probability.sum(1))
    real = _counts(predicted.pitch, bar, bars).sum(1)
    return ((expected - real) / (real + 1)).square().mean()


def range_loss(predicted: Predicted, segment: Tensor, segments: int) -> Tensor:
    """Share of the predicted notes below the lowest or above the highest real note of their segment, the mean over
    segments with notes; arguments as in :func:`key_loss`.
    """
    real = _counts(predicted.pitch, segment, segments)
    expected = predicted.probability.new_zeros(segments, PITCHES).index_add(0, segment, predicted.probability)
    up, down = real.cumsum(1), real.flip(1).cumsum(1).flip(1)
    outside = (up == 0) | (down == 0)
    share = (expected * outside).sum(1) / expected.sum(1).clamp(min=1e-6)
    return share[real.sum(1) > 0].sum() / segments


def _counts(pitch: Tensor, group: Tensor, groups: int) -> Tensor:
    """Real notes of each group by pitch ``(groups, P)`` float32."""
    is_note = pitch >= 0
    place = group[is_note] * PITCHES + pitch[is_note]
    return torch.bincount(place, minlength=groups * PITCHES).view(groups, PITCHES).float()


def _fold(pitches: Tensor) -> Tensor:
    """``(..., P)`` to pitch classes ``(..., 12)``."""
    return F.pad(pitches, (0, -PITCHES % OCTAVE)).unflatten(-1, (-1, OCTAVE)).sum(-2)


def _keys(device: torch.device) -> tuple[Tensor, Tensor]:
    """Profiles, centred and of length 1, and scales of the 24 keys ``(24, 12)`` each."""
    profiles, scales = [], []
    for profile, scale in zip(PROFILES[DEFAULT_PROFILE], (MAJOR_SCALE, MINOR_SCALE), strict=True):
        row, members = torch.tensor(profile), torch.zeros(OCTAVE)
        members[list(scale)] = 1.0
        for tonic in range(OCTAVE):
            profiles.append(row.roll(tonic))
            scales.append(members.roll(tonic))
    table = torch.stack(profiles)
    return F.normalize(table - table.mean(1, keepdim=True), dim=1).to(device), torch.stack(scales).to(device)
