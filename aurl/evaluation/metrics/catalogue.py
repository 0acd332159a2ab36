"""The list of metrics: for each its unit, range, source, what moves it and what does not.

``aimed_at`` says which planted damage a metric is there to show, and on which side real music lies; the figures behind
it, and behind every ``comparability_only``, are in experiments/metric_sensitivity. The entries stand by subject in
catalogue_notes, catalogue_time and catalogue_form.
"""

from __future__ import annotations

from aurl.evaluation.metrics.catalogue_form import FORM_METRICS
from aurl.evaluation.metrics.catalogue_notes import NOTE_METRICS
from aurl.evaluation.metrics.catalogue_time import TIME_METRICS
from aurl.evaluation.metrics.registry import GROUPS, MetricSpec

CATALOGUE: tuple[MetricSpec, ...] = tuple(
    sorted((*NOTE_METRICS, *TIME_METRICS, *FORM_METRICS), key=lambda spec: GROUPS.index(spec.group))
)
"""All metrics, in the order in which they are shown."""
