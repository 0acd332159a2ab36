"""What is made of the notes that a token hears: a vector for the network, and a say in the next pitch.

The network gets a sum over the notes that sound (:class:`HearingEmbedding`). The next pitch of a voice is also judged
directly by its intervals (:class:`CounterpointHead`): to every sounding note, from the voice's last pitch, and by how
the interval to another voice that has just moved would change, which is where textbooks speak of parallel fifths. Both
count intervals, so what is learned in one key holds in all.

Axes: R rows, E pairs of a row and a heard note, D width, V vocabulary, F forms of the tables, J entries of all tables.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aurl.models.config import ModelConfig
from aurl.models.hearing import (
    NO_INTERVAL,
    NONE,
    QUARTER_REMAINING,
    STILL_UNKNOWN,
    Heard,
    Hearing,
    Status,
    TokenMeaning,
    intervals,
)

PITCHES = 128
OCTAVE = 12
INTERVALS = NO_INTERVAL + 1
"""Entries for an interval."""
PLACES = 128
"""Positions in a bar that are told apart; later ones count as the last."""
GATE_STD = 1.0
"""A track multiplies what is heard of it by 1 + weights, which start so wide: close to random signs, so that in sums
over tracks one can be told from another (binding as in Plate 1995, holographic reduced representations).
"""
INIT_STD = 0.02
FORMS = 8
"""Tables are sums of so many, weighted by the network."""
FIRST_STRUCK = len(Status)
"""One more status: a struck note whose voice had no note before."""
SHORT_STATUSES = FIRST_STRUCK + 1
STATUSES = 2 * SHORT_STATUSES
"""Each of them once more for notes that last: what may sound against a passing note may not against a chord of rest."""
LASTING = round(1.5 * QUARTER_REMAINING)
"""Steps of remaining time from which a note lasts: more than a beat."""
RELATIONS = 3
"""Whose note it is: of an earlier track, a later one, or the same one."""
MOTIONS = 9
"""Down, still or up, of the other voice and of this one."""


def kept_pairs(heard: Heard, probability: float, training: bool) -> tuple[Heard, float]:
    """Leave out pairs at random in training; the rest weighs so much more, as in dropout."""
    if not training or not probability:
        return heard, 1.0
    keep = torch.rand(len(heard.row), device=heard.row.device) >= probability
    return Heard(*(values[keep] for values in heard)), 1 / (1 - probability)


class HearingEmbedding(nn.Module):
    """A vector for what each token hears, added to the token's embedding."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        width, self.dropout = config.hidden_dim, config.hearing_dropout
        self.sound = nn.Embedding(PITCHES + len(Status) + STILL_UNKNOWN + 1, width)
        """Of pitches, then statuses, then remaining times."""
        self.track = nn.Embedding(vocab_size, width)
        self.interval = nn.Embedding(INTERVALS * len(Status), width)
        self.reference = nn.Embedding(PITCHES + 1, width)
        self.place = nn.Embedding(PLACES, width)

    def forward(self, hearing: Hearing) -> Tensor:
        """``(R, D)``."""
        heard, weight = kept_pairs(hearing.heard, self.dropout, self.training)
        parts = (heard.pitch, heard.status + PITCHES, heard.remaining + (PITCHES + len(Status)))
        note = F.embedding_bag(torch.stack(parts, dim=1), self.sound.weight, mode="sum")  # (E, D)
        # Rows are fetched by index_select: module calls would cost a decoding step more than the arithmetic.
        gate = self.track.weight.index_select(0, heard.program)
        interval = self.interval.weight.index_select(0, heard.interval * len(Status) + heard.status)
        note = torch.addcmul(note + interval, note, gate)  # note (1 + gate) + interval
        reference = torch.where(hearing.reference == NONE, PITCHES, hearing.reference)
        places = self.place.weight.index_select(0, hearing.place.clamp(max=PLACES - 1))
        base = self.reference.weight.index_select(0, reference) + places
        return base.index_add(0, heard.row, note.to(base.dtype), alpha=weight)


class CounterpointHead(nn.Module):
    """Adds to the logits of pitches, after a Program token, what their intervals speak for.

    For a row with hidden state h and gates ``g = 1 + G h`` (F,), pitch p and last pitch r of the voice::

        logit(p) += sum_f g_f ( own_f[p - r] + sum_notes harmony_f[whose, status, p - note]
                                             + sum_moved succession_f[motions, (r - before) mod 12, (p - note) mod 12] )

    where ``notes`` are all that the row hears, and ``moved`` those of other tracks struck just now, with the pitch
    ``before`` that their voice came from (none where the voice has no last pitch or has just struck it).
    No note is hidden from the head in training: its tables are too small to know a piece by heart, and rules such as
    that of parallel octaves would come out weaker.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        harmony, succession = RELATIONS * STATUSES * INTERVALS, MOTIONS * OCTAVE * OCTAVE
        self.succession_at, self.own_at = harmony, harmony + succession
        self.tables = nn.Parameter(torch.empty(harmony + succession + INTERVALS, FORMS))  # (J, F)
        self.gate = nn.Linear(config.hidden_dim, FORMS)
        self.register_buffer("pitches", torch.arange(PITCHES), persistent=False)
        nn.init.normal_(self.tables, std=INIT_STD)

    pitches: Tensor

    def forward(self, logits: Tensor, hidden: Tensor, hearing: Hearing, meaning: TokenMeaning) -> Tensor:
        """Logits ``(R, V)`` with the head's share, from hidden states ``(R, D)`` before the output projection."""
        rows = hearing.is_program.nonzero().squeeze(1)
        if not len(rows) and not torch.is_grad_enabled():  # in training every weight gets a gradient, if only zero
            return logits
        gates = 1 + self.gate(hidden[rows]).float()
        with torch.autocast(gates.device.type, enabled=False):  # sums of many small shares keep their digits
            tables = gates @ self.tables.float().t()  # (rows, J)
        place = torch.full_like(hearing.track, NONE)
        place[rows] = torch.arange(len(rows), device=rows.device)
        heard = hearing.heard
        if len(rows) < len(hearing.is_program):
            chosen = hearing.is_program[heard.row].nonzero().squeeze(1)
            heard = Heard(*(values.index_select(0, chosen) for values in heard))
        share = tables.new_zeros(len(rows), PITCHES)
        for chosen, entries in (self._harmony(heard, hearing), self._succession(heard, hearing)):
            at = place[heard.row[chosen]]
            values = tables.view(-1).index_select(0, (at[:, None] * tables.shape[1] + entries).view(-1))
            share = share.index_add(0, at, values.view(len(at), PITCHES))
        reference = hearing.reference[rows, None]
        own = tables.gather(1, self.own_at + intervals(self.pitches, reference))
        share = share + own * (reference != NONE)
        share = F.pad(share, (0, 1))  # tokens that are no pitch look at an extra column of zeros
        return logits.float().index_add(0, rows, share[:, meaning.pitch])

    def _harmony(self, heard: Heard, hearing: Hearing) -> tuple[Tensor, Tensor]:
        """Which pairs, and their entries ``(pairs, 128)``: the interval of each pitch to the note."""
        track = hearing.track[heard.row]
        whose = torch.where(heard.program == track, 2, (heard.program > track).long())
        alone = (heard.status == Status.STRUCK) & (heard.previous == NONE)
        lasts = (heard.remaining >= LASTING) & (heard.remaining != STILL_UNKNOWN)
        status = torch.where(alone, FIRST_STRUCK, heard.status) + lasts * SHORT_STATUSES
        table = (whose * STATUSES + status) * INTERVALS
        every = torch.arange(len(heard.row), device=track.device)
        return every, table[:, None] + intervals(self.pitches, heard.pitch[:, None])

    def _succession(self, heard: Heard, hearing: Hearing) -> tuple[Tensor, Tensor]:
        """The same for voices that have moved just now: interval before, motions, interval after."""
        reference, track = hearing.reference[heard.row], hearing.track[heard.row]
        moved = (heard.status == Status.STRUCK) & (heard.previous != NONE) & (heard.program != track)
        chosen = (moved & (reference != NONE) & ~hearing.repeats[heard.row]).nonzero().squeeze(1)
        pitch, before, reference = heard.pitch[chosen, None], heard.previous[chosen, None], reference[chosen, None]
        motions = (pitch - before).sign() * 3 + (self.pitches - reference).sign() + MOTIONS // 2
        classes = (reference - before) % OCTAVE * OCTAVE + (self.pitches - pitch) % OCTAVE
        return chosen, self.succession_at + motions * OCTAVE * OCTAVE + classes


class Ear(nn.Module):
    """The two parts that listen, with what the tokens mean; kept in checkpoints, so they need no
    tokenizer.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, meaning: TokenMeaning) -> None:
        super().__init__()
        for name, values in meaning._asdict().items():
            self.register_buffer(name, values.clone())
        self.embedding = HearingEmbedding(config, vocab_size)
        self.head = CounterpointHead(config)

    @property
    def meaning(self) -> TokenMeaning:
        """What ids mean, on the model's device."""
        return TokenMeaning(*(getattr(self, name) for name in TokenMeaning._fields))
