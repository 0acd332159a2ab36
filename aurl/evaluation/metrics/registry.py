"""Every metric by name, with what it sees and what it does not; ``score_metrics`` measures one score.

The list itself is catalogue.py. A metric is advertised only if it tells some planted damage from real music
(experiments/metric_sensitivity); the others are kept ``comparability_only``, so that figures of papers can be compared.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aurl.evaluation.metrics.table import Floats, Music, NoteTable, as_table
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from aurl.evaluation.metrics.reference import Reference

GROUPS = ("pitch", "melody", "rhythm", "harmony", "structure", "dynamics", "chorale")


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric: how it is computed and how it is to be read."""

    name: str
    group: str
    """One of GROUPS."""
    unit: str
    compute: Callable[[NoteTable], float | Floats]
    """Table -> value; not used where a reference is needed."""
    sees: str
    """What moves it."""
    blind_to: str
    """What does not."""
    source: str
    """Paper or tool whose definition it is; aurl where there was none."""
    low: float | None = None
    """Lowest possible value; None is unbounded."""
    high: float | None = None
    """Highest possible value."""
    size: int | None = None
    """Length of a distribution; None for a single number."""
    aimed_at: Mapping[str, int] = field(default_factory=dict)
    """Corruption -> 1 where real music is higher than damaged, -1 where it is lower."""
    comparability_only: bool = False
    """It tells no planted damage from real music: reported so that published figures can be compared."""
    needs_reference: bool = False
    """It is measured against a corpus; see ``score_metrics``."""

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"metric {self.name}: group={self.group} is unknown; allowed: {', '.join(GROUPS)}")

    @property
    def is_distribution(self) -> bool:
        """Whether its value is an array of shares (or a profile) instead of one number."""
        return self.size is not None


def all_metrics() -> dict[str, MetricSpec]:
    """Name -> metric, in the order in which they are shown."""
    from aurl.evaluation.metrics.catalogue import CATALOGUE

    return {spec.name: spec for spec in CATALOGUE}


def choose_metrics(names: Sequence[str] | None = None, scalars_only: bool = False) -> list[MetricSpec]:
    """The metrics of these names, or of these groups; all without names.

    Args:
        names: names of metrics or groups.
        scalars_only: leave out distributions that were not asked for by name.

    Raises:
        AurlError: an unknown name; says which known one is nearest.
    """
    known = all_metrics()
    if names is None:
        return [spec for spec in known.values() if not (scalars_only and spec.is_distribution)]
    chosen: dict[str, MetricSpec] = {}
    for name in names:
        if name in GROUPS:
            chosen.update((spec.name, spec) for spec in known.values() if spec.group == name)
        elif name in known:
            chosen[name] = known[name]
        else:
            near = difflib.get_close_matches(name, [*known, *GROUPS], n=1, cutoff=0.0)[0]
            raise AurlError(f"metrics={name} is unknown; did you mean {near}? Groups: {', '.join(GROUPS)}")
    return list(chosen.values())


def measurable(names: Sequence[str] | None, reference: Reference | None) -> list[MetricSpec]:
    """The metrics of these names that can be measured: those that need a reference which is missing are left out.

    Raises:
        AurlError: an unknown name, or a metric asked for by its own name needs a reference that is missing, or one that
            is not fit for it.
    """
    chosen = []
    for spec in choose_metrics(names):
        if not spec.needs_reference or (reference is not None and reference.has(spec.name)):
            chosen.append(spec)
        elif names is not None and spec.name in names:
            reason = "" if reference is None else f" of other music ({reference.missing.get(spec.name, 'not fitted')})"
            raise AurlError(f"metrics={spec.name} is measured against a corpus: give reference=FOLDER{reason}")
    return chosen


def score_metrics(
    music: Music, names: Sequence[str] | None = None, reference: Reference | None = None
) -> dict[str, float | Floats]:
    """Measure one score.

    Args:
        music: a tick score or its table.
        names: metrics or groups; all without it.
        reference: what was learned from a corpus, for the metrics that need one.

    Returns:
        Name -> number (NaN where the piece cannot have it) or array. Metrics that need a reference are left out when
        there is none and they were not asked for by name.

    Raises:
        AurlError: an unknown name, or a reference is missing for a metric asked for by name.

    Example:
        >>> score_metrics(score, ["pitch_class_entropy", "bar_order"])  # doctest: +SKIP
        {'pitch_class_entropy': 2.73, 'bar_order': 9.1}
    """
    table = as_table(music)
    values: dict[str, float | Floats] = {}
    for spec in measurable(names, reference):
        if spec.needs_reference and reference is not None:
            values[spec.name] = reference.measure(spec.name, table)
        else:
            values[spec.name] = spec.compute(table)
    return values
