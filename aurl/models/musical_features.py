"""What a listener counts in a bar, from tokens that gradients pass through: piano roll, pitch classes, onsets, notes.

Where a token stands is known (it follows from the tokens before it); what it is comes as a distribution over the
vocabulary, so every figure is a linear or bilinear function of tokens that may be one-hot, straight-through or soft.

Axes: N tokens of windows, M bars, K notes, V vocabulary, G steps of a bar.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aurl.models.hearing import DURATION_AFTER, TokenMeaning

STEPS = 24
"""Steps of a bar that are told apart; what comes later counts as the last."""
STEP_QUARTERS = 0.25
"""Quarter notes in a step: a sixteenth."""
PITCHES = 128
OCTAVE = 12
ROLL_SCALE = 0.25
"""Brings piano rolls to the size of the other features."""


class WindowBars(NamedTuple):
    """Bars of windows that lie end to end; those at a window's ends may be parts of bars."""

    of_token: Tensor
    """Bar of each token ``(N,)`` int64, 0 to M - 1, rising."""
    window: Tensor
    """Window of each bar ``(M,)`` int64."""
    step: Tensor
    """Step of its bar in which each token stands ``(N,)`` int64."""

    @property
    def count(self) -> int:  # type: ignore[override]  # hides tuple.count, which nobody calls
        """Number of bars M."""
        return len(self.window)


class MusicalFeatures(nn.Module):
    """Figures of bars.

    Args:
        meaning: what each token id means; drums have no pitch and are not counted.
    """

    pitch: Tensor
    place: Tensor
    lasts: Tensor
    is_pitch: Tensor
    is_duration: Tensor

    def __init__(self, meaning: TokenMeaning) -> None:
        super().__init__()
        positions_per_step = max(1.0, STEP_QUARTERS / float(meaning.first_metre))
        has_pitch, vocab_size = meaning.pitch >= 0, len(meaning.pitch)
        pitch = torch.zeros(vocab_size, PITCHES)
        pitch[has_pitch.nonzero().squeeze(1), meaning.pitch[has_pitch]] = 1.0
        place = torch.zeros(vocab_size, STEPS)
        placed = (meaning.place >= 0).nonzero().squeeze(1)  # Position tokens; a bar line counts as an onset at place 0
        place[placed, (meaning.place[placed] / positions_per_step).long().clamp(max=STEPS - 1)] = 1.0
        steps = meaning.duration / positions_per_step
        lasts = (steps[:, None] > torch.arange(STEPS)).float()  # a note sounds in a step if it lasts beyond its start
        self.register_buffer("pitch", pitch)
        self.register_buffer("place", place)
        self.register_buffer("lasts", lasts)
        self.register_buffer("is_pitch", has_pitch)
        self.register_buffer("is_duration", meaning.duration > 0)

    @property
    def width(self) -> int:
        """Numbers that :meth:`forward` gives for a bar."""
        return STEPS * PITCHES + OCTAVE + STEPS + 1

    def roll(self, tokens: Tensor, ids: Tensor, bars: WindowBars, rows: Tensor) -> Tensor:
        """Piano roll: how many notes sound at each pitch in each step of a bar ``(M, G, 128)``.

        A note sounds from the step of its Pitch token for as long as its Duration token says, to the end of its bar at
        most; where that token lies beyond the window, for one step.

        Args:
            tokens: distributions over tokens ``(N, V)``.
            ids: the likeliest of each ``(N,)``; which tokens belong to notes follows from them.
            bars: where the tokens stand.
            rows: window of each token ``(N,)``.
        """
        note = self.is_pitch[ids].nonzero().squeeze(1)  # (K,)
        last = (note + DURATION_AFTER).clamp(max=len(ids) - 1)
        written = (note + DURATION_AFTER < len(ids)) & (rows[last] == rows[note]) & self.is_duration[ids[last]]
        once = torch.zeros_like(self.lasts[0])
        once[0] = 1.0
        lasts = torch.where(written[:, None], tokens[last] @ self.lasts, once)  # (K, G) from the note's own step on
        since = torch.arange(STEPS, device=ids.device) - bars.step[note, None]  # (K, G)
        sounds = lasts.gather(1, since.clamp(min=0)) * (since >= 0)
        each = sounds[:, :, None] * (tokens[note] @ self.pitch)[:, None]  # (K, G, 128)
        return each.new_zeros(bars.count, STEPS, PITCHES).index_add(0, bars.of_token[note], each)

    def forward(self, tokens: Tensor, ids: Tensor, bars: WindowBars, rows: Tensor) -> Tensor:
        """Piano roll, shares of pitch classes, onsets by step and number of notes of each bar ``(M, width)``; arguments
        as in :meth:`roll`.
        """
        roll = self.roll(tokens, ids, bars, rows)
        classes = nn.functional.pad(roll.sum(1), (0, -PITCHES % OCTAVE)).unflatten(1, (-1, OCTAVE)).sum(1)
        classes = classes / classes.sum(1, keepdim=True).clamp(min=1.0)
        onsets = tokens.new_zeros(bars.count, STEPS).index_add(0, bars.of_token, tokens @ self.place)
        struck = (tokens @ self.pitch).sum(1, keepdim=True)
        notes = tokens.new_zeros(bars.count, 1).index_add(0, bars.of_token, struck) / STEPS
        return torch.cat((roll.flatten(1) * ROLL_SCALE, classes, onsets, notes), dim=1)
