"""The metrics as ``torchmetrics.Metric``: fed with scores batch by batch, synchronised over processes.

Every piece counts once. A single number is kept for each piece (so that medians, intervals and tests can be had
afterwards); of a distribution the sum over pieces is kept. ``MusicalMetrics`` measures many metrics from one reading of
each score and is what a callback should use; ``ScoreMetric`` is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from aurl.evaluation.metrics.registry import measurable, score_metrics
from aurl.evaluation.metrics.table import Music, as_table
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from aurl.evaluation.metrics.reference import Reference

ROWS = "rows"
TOTAL = "total_"


class MusicalMetrics(Metric):
    """Means of many metrics over pieces.

    Args:
        names: metrics or groups of the registry; all without it.
        reference: what was learned from a corpus, for the metrics that need one.
        kwargs: handed to torchmetrics.

    Raises:
        AurlError: an unknown name, or one that needs a reference which is missing.

    Example:
        >>> metrics = MusicalMetrics(["pitch_class_entropy", "pitch_class_distribution"])
        >>> metrics.update(scores)  # doctest: +SKIP
        >>> metrics.compute()["pitch_class_entropy"]  # doctest: +SKIP
        tensor(2.71)
    """

    rows: list[Tensor]
    pieces: Tensor
    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    def __init__(self, names: Sequence[str] | None = None, reference: Reference | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        specs = measurable(names, reference)
        self.reference = reference
        self.scalars = [spec.name for spec in specs if not spec.is_distribution]
        self.distributions = {spec.name: int(spec.size or 0) for spec in specs if spec.is_distribution}
        self.add_state(ROWS, default=[], dist_reduce_fx="cat")
        self.add_state("pieces", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name, size in self.distributions.items():
            self.add_state(TOTAL + name, default=torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Sequence[Music]) -> None:
        """Measure pieces: tick scores, or their tables."""
        rows: list[list[float]] = []
        for score in scores:
            values = score_metrics(as_table(score), [*self.scalars, *self.distributions], self.reference)
            rows.append([float(values[name]) for name in self.scalars])
            for name in self.distributions:
                total: Tensor = getattr(self, TOTAL + name)
                total += torch.from_numpy(np.asarray(values[name], dtype=np.float64)).to(total.device)
        if rows:
            self.rows.append(torch.tensor(rows, dtype=torch.float64, device=self.device).reshape(len(rows), -1))
            self.pieces += len(rows)

    def compute(self) -> dict[str, Tensor]:
        """Name -> mean over pieces; of numbers, over the pieces that have them. NaN before any piece."""
        values = self.per_piece()
        result = {name: column.nanmean() for name, column in values.items()}
        for name in self.distributions:
            result[name] = getattr(self, TOTAL + name) / self.pieces
        return result

    def per_piece(self) -> dict[str, Tensor]:
        """Name -> (pieces,) the numbers of all pieces seen, NaN where a piece cannot have one."""
        if not len(self.rows):
            return {name: torch.full((0,), torch.nan, dtype=torch.float64) for name in self.scalars}
        table = dim_zero_cat(self.rows)
        return {name: table[:, column] for column, name in enumerate(self.scalars)}


class ScoreMetric(MusicalMetrics):
    """One metric of the registry, as a mean over pieces: ``compute`` gives the tensor itself.

    Args:
        name: its name.
        reference: what was learned from a corpus, if it needs one.
        kwargs: handed to torchmetrics.

    Example:
        >>> metric = ScoreMetric("scale_consistency")
        >>> metric.update(scores)  # doctest: +SKIP
        >>> metric.compute()  # doctest: +SKIP
        tensor(0.97)
    """

    def __init__(self, name: str, reference: Reference | None = None, **kwargs: Any) -> None:
        super().__init__([name], reference, **kwargs)
        names = [*self.scalars, *self.distributions]
        if names != [name]:
            raise AurlError(
                f"metric={name} is a group; MusicalMetrics takes groups, ScoreMetric one of {', '.join(names)}"
            )
        self.name = name

    def compute(self) -> Tensor:  # type: ignore[override]
        """The mean over pieces: a number or an array."""
        return super().compute()[self.name]
