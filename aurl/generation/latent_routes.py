"""Where bars lie in latent space as a named dimension grows: what else has to move for a slider to be believed.

A decoder that was trained on the latents of real bars hears an attribute in all dimensions that tell it, not only in
the one that has its name. Moving that one alone asks for a bar that does not exist (more notes at once, all else as
before), and the other dimensions win. A slider therefore follows the route of its dimension k, the mean of real bars

    m_k(t) = E[z | z_k = t],

estimated by a kernel over bars of training in which the attribute is defined (Nadaraya 1964, Watson 1964):

    m_k(t) = sum over bars of w z / sum of w,   w = exp(-(z_k - t)^2 / (2 h^2)),   h = KERNEL_SHARE deviations of z_k,

and beyond the outermost bars (TAIL of them on each side) the least-squares line. A bar z whose slider asks for t' in
the place of t = z_k becomes z + m_k(t') - m_k(t): it keeps what distinguishes it from other bars of its kind. The
named dimension itself ends exactly where it was asked to. Several sliders share what they have in common
(:meth:`Routes.together`). Dimensions that do as well by themselves (ALONE) have no route.

Axes: N bars, A named dimensions, G places on a route, Z latent of a bar.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aurl.generation.latent_piece import Floats
from aurl.music.attributes import ATTRIBUTES
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_bytes

PLACES = 61
"""Places on a route between which it is straight."""
KERNEL_SHARE = 0.15
"""Width of the kernel in standard deviations of the dimension."""
TAIL = 0.002
"""Share of bars on each side beyond which a route is its least-squares line."""
ALONE = ("mean_pitch", "velocity", "syncopation")
"""Dimensions that are obeyed as well or better when they move by themselves (experiments/latent)."""
FEWEST_BARS = 100
"""Bars from which routes say something; a tenth of a minute of music is none."""
LEAST_SHARE = 0.1
"""Part of the largest singular value from which a direction that sliders have in common is followed."""
ARRAYS = ("places", "means", "slopes", "heard", "deviations")
"""Numbers in a file of routes."""
VARIES = 1e-6
"""Standard deviation from which a dimension or an attribute varies."""


@dataclass(frozen=True)
class Routes:
    """Routes of the named dimensions of a checkpoint."""

    names: tuple[str, ...]
    """Of the dimensions, which are the first of the latent, in order (A)."""
    places: Floats
    """Values of the dimension, rising ``(A, G)``."""
    means: Floats
    """Mean latent of bars there ``(A, G, Z)``."""
    slopes: Floats
    """Change of the mean latent with the dimension beyond the places ``(A, Z)``."""
    heard: Floats
    """Values of the dimension, rising, and the attribute that bars have there ``(A, 2, G)``; NaN if none has it."""
    deviations: Floats
    """Standard deviations of all attributes over bars ``(8,)``, 0 where nothing is defined."""
    checkpoint: str
    """Fingerprint of the model."""

    @classmethod
    def fit(
        cls,
        latents: Floats,
        attributes: Floats,
        names: Sequence[str],
        checkpoint: str,
        alone: Sequence[str] = ALONE,
    ) -> Routes:
        """Find the routes.

        Args:
            latents: of bars of training ``(N, Z)``.
            attributes: what is heard in them ``(N, 8)``, NaN where undefined.
            names: of the first dimensions.
            checkpoint: fingerprint of the model.
            alone: names of dimensions that shall move by themselves.

        Raises:
            AurlError: too few bars, or no named dimension.

        Example:
            >>> routes = Routes.fit(latents, attributes, ["density", "polyphony"], "")  # doctest: +SKIP
            >>> routes.shift("density", now=latents[:, 0], step=1.0).shape  # doctest: +SKIP
            (N, Z)
        """
        if not names:
            raise AurlError(
                "this checkpoint has no named dimensions, so there are no routes; train with model.attributes"
            )
        if len(latents) < FEWEST_BARS:
            raise AurlError(
                f"{len(latents)} bars are too few for routes; give {FEWEST_BARS} or more, best all of training"
            )
        found = [
            _line(latents.shape[1], k) if name in alone else _route(latents, attributes[:, ATTRIBUTES.index(name)], k)
            for k, name in enumerate(names)
        ]
        places, means, slopes = (np.stack(parts).astype(np.float32) for parts in zip(*found, strict=True))
        heard = [_heard(latents[:, k], attributes[:, ATTRIBUTES.index(name)]) for k, name in enumerate(names)]
        defined = (~np.isnan(attributes)).any(axis=0)
        deviations = np.zeros(attributes.shape[1], np.float32)
        deviations[defined] = np.nanstd(attributes[:, defined], axis=0)
        return cls(tuple(names), places, means, slopes, np.stack(heard).astype(np.float32), deviations, checkpoint)

    def heard_at(self, name: str, value: float) -> float:
        """The attribute that bars of training have on average where its dimension has a value; beyond them on a line of
        the slope that it has between the outermost; NaN where it is not defined.
        """
        places, heard = self.heard[self.names.index(name)].astype(np.float64)
        slope = (heard[-1] - heard[0]) / (places[-1] - places[0])
        return float(np.interp(value, places, heard) + slope * (value - np.clip(value, places[0], places[-1])))

    def is_heard(self, name: str) -> bool:
        """Whether the attribute of a dimension is defined and varies in the bars of training."""
        varies = self.deviations[ATTRIBUTES.index(name)] > VARIES
        return bool(varies and np.isfinite(self.heard[self.names.index(name)]).all())

    def shift(self, name: str, now: NDArray[np.floating], step: float) -> Floats:
        """What is added to latents ``(..., Z)`` whose named dimension is ``now`` ``(...)``, to be ``now + step``."""
        row = self.names.index(name)
        begin: NDArray[np.float64] = np.asarray(now, np.float64)
        shift = np.subtract(self._at(row, begin + step), self._at(row, begin))
        shift[..., row] = step
        return shift.astype(np.float32)

    def together(self, steps: Mapping[str, float]) -> dict[str, float]:
        """How far to go along each route, so that all of them together end where they were asked to.

        Dimensions that occur together take each other along: going all the way along both routes would count twice what
        they share. With the slopes S of the lines, ``S[j, k]`` of dimension j along the route of k, the steps solve
        ``S x = steps`` in least squares; directions in which real bars do not lie (singular values below
        :data:`LEAST_SHARE` of the largest) are left out, and there the named dimensions alone move.
        """
        if not steps:
            return {}
        rows = [self.names.index(name) for name in steps]
        slopes = np.stack([self.slopes[row][rows] for row in rows], axis=1).astype(np.float64)
        along = np.linalg.pinv(slopes, rcond=LEAST_SHARE) @ np.array(list(steps.values()))
        return dict(zip(steps, along.tolist(), strict=True))

    def _at(self, row: int, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean latents ``(..., Z)`` of bars whose dimension has a value ``(...)``."""
        places, means = self.places[row].astype(np.float64), self.means[row].astype(np.float64)
        inside = value.clip(places[0], places[-1])
        position = np.interp(inside, places, np.arange(len(places)))
        low = np.minimum(position.astype(np.int64), len(places) - 2)
        share = (position - low)[..., None]
        return (1 - share) * means[low] + share * means[low + 1] + (value - inside)[..., None] * self.slopes[row]

    def save(self, path: Path) -> None:
        """Write ``.npz`` without pickles; the file appears whole or not at all."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            places=self.places,
            means=self.means,
            slopes=self.slopes,
            heard=self.heard,
            deviations=self.deviations,
            names=np.array(self.names),
            checkpoint=np.array(self.checkpoint),
        )
        atomic_write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, checkpoint: str | None = None) -> Routes:
        """Read what :meth:`save` wrote, for the model with that fingerprint (None: for whichever it is of).

        Raises:
            AurlError: no such file, something else, or routes of another checkpoint.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                places, means, slopes, heard, deviations = (stored[name] for name in ARRAYS)
                names, made_for = tuple(stored["names"].tolist()), str(stored["checkpoint"])
        except OSError as error:
            raise AurlError(f"routes={path} cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise AurlError(
                f"routes={path} is no file of `aurl-latent routes`; make it with that, or set routes=none"
            ) from error
        if checkpoint is not None and made_for != checkpoint:
            raise AurlError(
                f"routes={path} are of another checkpoint; make them again (`aurl-latent routes`) or set routes=none"
            )
        return cls(names, places, means, slopes, heard, deviations, made_for)


def needs_routes(tries: int) -> AurlError:
    """What is said where bars shall be written in several ways and there are no routes."""
    return AurlError(
        f"tries={tries} needs routes, which know what is heard where; make them with `aurl-latent routes FOLDER`, name "
        "them with routes=FILE, or set tries=1"
    )


def _line(width: int, column: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The route of a dimension that moves by itself."""
    alone = np.zeros(width)
    alone[column] = 1.0
    places = np.linspace(-1.0, 1.0, PLACES)
    return places, places[:, None] * alone, alone


def _smoothed(value: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places ``(G,)`` of a dimension's values ``(N,)``, and the kernel mean of rows ``(N, ...)`` there ``(G, ...)``."""
    low, high = np.quantile(value, [TAIL, 1 - TAIL])
    places = np.linspace(low, high, PLACES)
    distance = 0.5 * ((places[:, None] - value) / (KERNEL_SHARE * value.std())) ** 2
    weight = np.exp(distance.min(axis=1, keepdims=True) - distance)  # the nearest bar weighs 1, however far it is
    weight /= weight.sum(axis=1, keepdims=True)
    return places, weight @ rows


def _heard(value: Floats, attribute: Floats) -> NDArray[np.float64]:
    """Places and the attribute of bars there ``(2, G)``."""
    there = ~np.isnan(attribute)
    given = value[there].astype(np.float64)
    if len(given) < FEWEST_BARS or given.std() < VARIES:
        return np.stack([np.linspace(-1.0, 1.0, PLACES), np.full(PLACES, np.nan)])
    return np.stack(_smoothed(given, attribute[there].astype(np.float64)))


def _route(
    latents: Floats, attribute: Floats, column: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Places ``(G,)``, means ``(G, Z)`` and slopes ``(Z,)`` of one dimension; where nothing varies it moves alone."""
    bars = latents[~np.isnan(attribute)].astype(np.float64)
    if len(bars) < FEWEST_BARS or bars[:, column].std() < VARIES or np.nanstd(attribute) < VARIES:
        return _line(latents.shape[1], column)
    value = bars[:, column]
    places, means = _smoothed(value, bars)
    centred = value - value.mean()
    return places, means, centred @ (bars - bars.mean(axis=0)) / (centred @ centred)
