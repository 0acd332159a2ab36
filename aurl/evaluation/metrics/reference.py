"""What is learned from a corpus, for the metrics that measure a piece against one.

Axes: none; the models have their own (progression.py, seam.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aurl.evaluation.metrics.progression import ChordModel
from aurl.evaluation.metrics.seam import SeamModel
from aurl.evaluation.metrics.table import Music, NoteTable, as_table

CHORDS, SEAMS = "chord_progression_nll", "seam_evidence"
"""Metrics that need a reference."""


@dataclass(frozen=True)
class Reference:
    """Models of a corpus; see :meth:`fit`."""

    chords: ChordModel | None = None
    seams: SeamModel | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Metric that the corpus is too small or too odd for -> why."""

    @classmethod
    def fit(cls, corpus: Sequence[Music]) -> Reference:
        """Learn everything that the corpus allows; ``missing`` says what it does not.

        Example:
            >>> reference = Reference.fit(training_scores)  # doctest: +SKIP
            >>> score_metrics(score, ["seam_evidence"], reference)  # doctest: +SKIP
            {'seam_evidence': -1.3}
        """
        tables = [as_table(music) for music in corpus]
        missing: dict[str, str] = {}
        chords, seams = None, None
        try:
            chords = ChordModel.fit(tables)
        except ValueError as error:  # drums alone: nothing to compare progressions with
            missing[CHORDS] = str(error)
        try:
            seams = SeamModel.fit(tables)
        except ValueError as error:  # one piece, or short ones
            missing[SEAMS] = str(error)
        return cls(chords, seams, missing)

    def has(self, metric: str) -> bool:
        """Whether the metric can be measured against this corpus."""
        return self._models()[metric] is not None

    def measure(self, metric: str, table: NoteTable) -> float:
        """The metric's value for a piece; NaN where the piece cannot have it.

        Raises:
            ValueError: the corpus did not allow this metric.
        """
        model = self._models()[metric]
        if model is None:
            raise ValueError(f"{metric} cannot be measured: {self.missing.get(metric, 'its model was not fitted')}")
        return model.nats_per_quarter(table) if isinstance(model, ChordModel) else model.evidence(table)

    def _models(self) -> dict[str, ChordModel | SeamModel | None]:
        return {CHORDS: self.chords, SEAMS: self.seams}
