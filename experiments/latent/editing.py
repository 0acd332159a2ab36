"""(5) Two bars of a long piece written anew: with what is kept from before, and without any cache; processor time."""

from __future__ import annotations

import time

import numpy as np
import torch

from aurl.generation.latent_editing import EditSession
from aurl.generation.latent_piece import LatentPiece
from aurl.models.positions import MusicalTime
from experiments.latent.setting import Row, Setting, at_least

BARS, EDITED = 32, (17, 18)
ROUNDS = 5
TIMED_TOKENS = 16
"""Tokens that are computed again without a cache, spread over the edit: each costs a pass over the whole beginning."""


def measure(setting: Setting) -> list[Row]:
    """Of the first piece that is long enough."""
    tools = setting.tools
    piece = next(iter(setting.beginnings(BARS)), None)
    if piece is None:
        return []
    rows = slice(EDITED[0] - 1, EDITED[-1])
    latents = tools.slid(piece.bar_latents[None, rows], {tools.dimension_names[0]: 1.0})
    session = EditSession(tools, piece)
    begin = time.process_time()
    edit = session.rewrite(EDITED, latents)[0]
    first = time.process_time() - begin
    later = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        edit = session.rewrite(EDITED, latents)[0]
        later.append(time.process_time() - begin)
    before = tools.codec.merge(tools.beginning(piece, EDITED[0]))
    after = len(tools.codec.merge(piece.tokens)) - len(tools.codec.merge(tools.beginning(piece, EDITED[-1] + 1)))
    written = len(tools.codec.merge(edit.sample.ids)) - len(before) - after
    again, agrees = recomputed(setting, edit.piece, len(before), written)
    cached = float(np.median(later)) / written
    note = f"{1000 * cached:.2f} ms against {1000 * again:.1f}; {written} tokens after {len(before)}; {agrees}"
    return [
        at_least("cached edit of 2 bars of 32, times faster a token", again / cached, 30, note),
        Row(
            "the first edit of a session, times faster a token",
            again / (first / written),
            note="reads the beginning too",
        ),
    ]


def recomputed(setting: Setting, piece: LatentPiece, start: int, count: int) -> tuple[float, str]:
    """Seconds a token when everything is computed anew for each, and how often the likeliest is the written one."""
    tools = setting.tools
    ids = np.concatenate([[tools.codec.vocabulary.bos], tools.codec.merge(piece.tokens)])
    bar, beat = tools.codec.model_vocabulary.musical_time(ids)
    spent, same = [], 0
    places = np.unique(np.linspace(start + 1, start + count - 1, min(TIMED_TOKENS, count)).astype(int))
    for place in places:
        stop = int(place) + 1  # tokens that are read, BOS included
        begin = time.process_time()
        moment = MusicalTime(torch.arange(stop), torch.from_numpy(beat[:stop]), torch.from_numpy(bar[:stop]).long())
        latents = torch.from_numpy(piece.bar_latents[: int(bar[stop - 1]) + 1])
        with torch.inference_mode():
            logits = tools.model(torch.from_numpy(ids[:stop]), moment, [stop], bar_latents=latents).logits[-1]
        spent.append(time.process_time() - begin)
        same += int(stop == len(ids) or int(logits.argmax()) == ids[stop])
    return float(np.median(spent)), f"the same choice {same} of {len(places)} times"
