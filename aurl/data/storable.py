"""Values of JSON documents as the manifest can hold them: any document may lie beside music, none may stop the work.

JSON allows what SQLite and UTF-8 do not: halves of surrogate pairs, whole numbers of any size, nesting without end.
"""

from __future__ import annotations

import math
from typing import Any

LARGEST_WHOLE = 2**63 - 1
"""The largest whole number of SQLite."""
MOST_LEVELS = 32
"""Lists and objects inside each other."""


def storable(value: Any, level: int = 0) -> Any:
    """A JSON value with text that is UTF-8 and numbers of 64 bits.

    Raises:
        ValueError: it is nested too deeply.

    Example:
        >>> storable({"title": "Prelude", "opus": [3, 10**30]})
        {'title': 'Prelude', 'opus': [3, 1e+30]}
    """
    if level > MOST_LEVELS:
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
    if isinstance(value, str):
        return text_value(value)
    if isinstance(value, dict):
        return {text_value(str(name)): storable(inner, level + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [storable(inner, level + 1) for inner in value]
    return number_value(value) if isinstance(value, int) else value


def text_value(text: str) -> str:
    """A text with question marks for what cannot be written as UTF-8."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def number_value(number: float) -> float:
    """A number itself, or the float next to a whole number of more than 64 bits, infinite where there is none."""
    if not isinstance(number, int) or abs(number) <= LARGEST_WHOLE:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
