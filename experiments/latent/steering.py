"""(3) Steering: each named dimension is put to several values, a bar is written anew, all attributes are measured.

A dimension is put to ``mean + value * deviation`` of its training distribution; the others keep the bar's own latent,
or go along its route (``routes=FILE``, aurl/generation/latent_routes.py).
Beginnings are the piece's own tokens. Attributes are centred within the piece and pooled over pieces; rank correlation
with the value. *bar* centres within the bar instead, which takes away how bars differ whatever is moved: stricter for
the other attributes, kinder to the one that is moved.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import spearmanr

from aurl.generation.latent_search import OTHER_METRE, Aim, SliderSearch, bar_tokens, metre_of
from aurl.generation.steered import Reading
from aurl.music.attributes import ATTRIBUTES
from experiments.latent.setting import Row, Setting, at_least, at_most, nan_mean

VALUES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
TINY = 1e-9
VARIES = 1e-6
"""Standard deviation from which an attribute varies in the corpus."""


def chosen_bars(bars: int, pieces: int, most: int, generator: np.random.Generator) -> list[int]:
    """Numbers (from 1) of bars of a piece that are steered."""
    count = min(-(-most // pieces), bars - 1)
    return sorted((generator.choice(bars - 1, count, replace=False) + 1).tolist()) if count > 0 else []


def written(
    setting: Setting, values: tuple[float, ...] = VALUES, tries: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is heard (bars, dimensions, values, attributes), the piece of each bar, and the bars' own attributes."""
    tools = setting.tools
    names = tools.model.config.attributes
    spread = tools.spread
    generator = np.random.default_rng(setting.seed)
    heard, owners, own = [], [], []
    for number, piece in enumerate(setting.encoded):
        reading = Reading(
            tools.model, tools.grammar(1), tools.codec.merge(piece.tokens), torch.from_numpy(piece.bar_latents)
        )
        for bar in chosen_bars(piece.bars, len(setting.encoded), setting.bars, generator):
            if np.isnan(piece.attributes[bar - 1, 1:4]).any():
                continue
            latent, own_attributes = piece.bar_latents[bar - 1], piece.attributes[bar - 1]
            rows: list[np.ndarray] = []
            aims: list[Aim | None] = []  # None where there is nothing to listen for
            for column, name in enumerate(names):
                now = (latent[column] - spread.mean[column]) / max(spread.deviation[column], TINY)
                for value in values:
                    if tries == 1 or tools.routes is None or not tools.routes.is_heard(name):
                        rows.append(np.repeat(tools.slid(latent[None], {name: value - now}), tries, axis=0))
                        aims.append(None)
                        continue
                    search = SliderSearch(tools, {name: value - now}, tries)
                    rows.append(search.candidates(latent, setting.seed + bar))
                    aims.append(search.aim(latent, own_attributes))
            latents = np.repeat(piece.bar_latents[None, :bar], len(rows) * tries, axis=0)
            latents[:, bar - 1] = np.concatenate(rows)
            beginning = tools.beginning(piece, bar)
            # A bar's tokens are music by themselves: they begin with the bar and its metre.
            bars = [each.ids[len(beginning) :] for each in tools.write_bars(beginning, latents, reading)]
            found = np.stack([tools.attributes_of(tools.codec.decode(tokens), 1)[0] for tokens in bars])
            found = found.reshape(len(rows), tries, -1)
            own_metre = metre_of(tools, bar_tokens(tools, piece, bar))
            changed = np.array([metre_of(tools, tokens) != own_metre for tokens in bars]).reshape(len(rows), tries)
            nearest = [
                0 if aim is None else int(np.argmin(aim.distance(each) + OTHER_METRE * other))
                for aim, each, other in zip(aims, found, changed, strict=True)
            ]
            found = found[np.arange(len(rows)), nearest]
            heard.append(found.reshape(len(names), len(values), -1))
            owners.append(number)
            own.append(piece.attributes[bar - 1])
    return np.array(heard, np.float64), np.array(owners), np.array(own, np.float64)


def matrix(heard: np.ndarray, groups: np.ndarray, values: tuple[float, ...] = VALUES) -> np.ndarray:
    """Rank correlations (dimensions, attributes) of values with attributes centred within groups."""
    bars, dimensions, steps, attributes = heard.shape
    result = np.full((dimensions, attributes), np.nan)
    given = np.broadcast_to(np.asarray(values), (bars, steps))
    for dimension in range(dimensions):
        centred = heard[:, dimension].copy()
        for group in np.unique(groups):
            mine = groups == group
            centred[mine] -= nan_mean(centred[mine].reshape(-1, attributes))
        for attribute in range(attributes):
            column = centred[:, :, attribute]
            there = ~np.isnan(column)
            if there.sum() > len(values) and np.ptp(column[there]) > VARIES:
                result[dimension, attribute] = spearmanr(given[there], column[there])[0]
    return result


def encoded_order(setting: Setting, columns: list[int]) -> np.ndarray:
    """Rank correlations of named dimensions of bars with their attributes, both centred within the piece."""
    latents = [piece.bar_latents[:, : len(columns)].astype(np.float64) for piece in setting.encoded]
    heard = [piece.attributes[:, columns].astype(np.float64) for piece in setting.encoded]
    latents = np.concatenate([part - part.mean(axis=0) for part in latents])
    heard = np.concatenate([part - nan_mean(part) for part in heard])
    found = []
    for column in range(len(columns)):
        there = ~np.isnan(heard[:, column])
        varies = there.any() and np.ptp(heard[there, column]) > VARIES
        found.append(spearmanr(latents[there, column], heard[there, column])[0] if varies else np.nan)
    return np.array(found)


def measure(setting: Setting, tries: int = 1) -> tuple[list[Row], dict]:
    """Diagonal and the rest, and the whole matrix."""
    names = setting.tools.model.config.attributes
    if not names:
        return [], {}
    heard, owners, _ = written(setting, tries=tries)
    columns = [ATTRIBUTES.index(name) for name in names]
    varying = [place for place, column in enumerate(columns) if setting.deviations[column] > VARIES]
    tables = {"piece": matrix(heard, owners), "bar": matrix(heard, np.arange(len(heard)))}
    rows = []
    for title, table in tables.items():
        square = table[:, columns][np.ix_(varying, varying)]
        diagonal = np.diag(square)
        rest = np.abs(square[~np.eye(len(varying), dtype=bool)])
        note = ", ".join(f"{names[place]} {value:.2f}" for place, value in zip(varying, diagonal, strict=True))
        if title == "piece":
            rows.append(at_least("Spearman on the dimension moved, least", float(np.nanmin(diagonal)), 0.9, note))
            rows.append(
                Row("the same, mean", float(np.nanmean(diagonal)), note=f"{len(heard)} bars, {len(VALUES)} values")
            )
            rows.append(
                at_most(
                    "mean absolute Spearman on the others", float(np.nanmean(rest)), 0.25, f"most {np.nanmax(rest):.2f}"
                )
            )
        else:
            rows.append(
                Row("centred within the bar: on the dimension moved, least", float(np.nanmin(diagonal)), note=note)
            )
            rows.append(Row("centred within the bar: mean on the others", float(np.nanmean(rest))))
    encoded = encoded_order(setting, columns)[varying]
    note = ", ".join(f"{names[place]} {value:.2f}" for place, value in zip(varying, encoded, strict=True))
    rows.append(
        Row("encoded only: Spearman of the bar's own latent with what is heard, least", float(encoded.min()), note=note)
    )
    detail = {title: np.round(table[:, columns], 4).tolist() for title, table in tables.items()}
    return rows, {"dimensions": names, "attributes": names, "varying": [names[place] for place in varying], **detail}
