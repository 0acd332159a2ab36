"""What is known about a piece besides its notes: from the file beside it, and from the score itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symusic.core import ScoreTick

SHARPS = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")
"""Tonics by fifths: a major key of no sharps stands at 7, a minor one at 10."""


def sidecar_metadata(path: Path, root: Path) -> dict[str, Any]:
    """What ``song.json`` beside ``song.mid`` says, in JSON types."""
    try:
        value = json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def score_metadata(score: ScoreTick) -> dict[str, Any]:
    """What a score says about itself: ``key`` ("F# minor"), ``meter`` ("3/4"), ``tempo`` (quarters a minute)."""
    found: dict[str, Any] = {}
    if len(score.key_signatures):
        sign = min(score.key_signatures, key=lambda sign: sign.time)
        mode = "minor" if sign.tonality else "major"
        found["key"] = f"{SHARPS[sign.key + (10 if sign.tonality else 7)]} {mode}"
    if len(score.time_signatures):
        metre = min(score.time_signatures, key=lambda sign: sign.time)
        found["meter"] = f"{metre.numerator}/{metre.denominator}"
    if len(score.tempos):
        found["tempo"] = round(min(score.tempos, key=lambda tempo: tempo.time).qpm, 2)
    return found
