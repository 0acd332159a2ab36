"""What the user typed, made safe for Hydra's grammar: paths and texts need no quotes beyond the shell's own.

Hydra's grammar gives meaning to ``~``, spaces, brackets, quotes, ``=``, commas and non-ASCII letters.
Keys whose schema says text are therefore quoted before Hydra parses them; keys whose schema says list may
be written without brackets; whatever else Hydra cannot parse is taken as text. Left alone: values in
quotes of their own, ``null`` for optional keys, ``${...}``.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

OVERRIDE = re.compile(r"(?P<key>\+{0,2}[A-Za-z_][\w./@:-]*)=(?P<value>.*)", re.DOTALL)
SWEEP_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(")
SWEEP_FLAGS = frozenset({"-m", "--multirun"})


def quote_arguments(arguments: Sequence[str], types_of_keys: Mapping[str, Any]) -> list[str]:
    """Command-line arguments as Hydra's grammar wants them.

    Args:
        arguments: what follows the command's name.
        types_of_keys: dotted key -> type of the closed keys (see ``conf.known_keys``).

    Example:
        >>> quote_arguments(["data.path=~/My Songs (1)", "model.layers=6"], {"data.path": str, "model.layers": int})
        ["data.path='~/My Songs (1)'", 'model.layers=6']
    """
    sweeping = not SWEEP_FLAGS.isdisjoint(arguments)
    return [quote_argument(argument, types_of_keys, sweeping) for argument in arguments]


def quote_argument(argument: str, types_of_keys: Mapping[str, Any], sweeping: bool = False) -> str:
    """One argument as Hydra's grammar wants it; flags and what is no ``key=value`` pass unchanged."""
    match = OVERRIDE.fullmatch(argument)
    if match is None:
        return argument
    key, value = match["key"], match["value"]
    kind = types_of_keys.get(key.lstrip("+"))
    if is_text(kind):
        return f"{key}={quote_text(value, optional(kind), sweeping)}"
    if is_list(kind) and not sweeping and value and value[0] not in "[$'\"" and value != "null":
        return f"{key}=[{value}]"
    if kind is not bool and not parses(argument):
        return f"{key}={quote(value)}"
    return argument


def quote_text(value: str, may_be_null: bool, sweeping: bool) -> str:
    """A text or path, quoted unless it is already; in a sweep each of the comma-separated alternatives."""
    if value == "" or "${" in value or (value == "null" and may_be_null) or is_quoted(value):
        return value
    if sweeping and SWEEP_FUNCTION.match(value):
        return value
    if sweeping and "," in value and not Path(value).expanduser().exists():
        return ",".join(quote_text(part, may_be_null, sweeping=False) for part in value.split(","))
    return quote(value)


def quote(value: str) -> str:
    r"""A Hydra string literal: quotes are escaped, and backslashes only where they stand before a quote.

    Example:
        >>> quote("it's")
        "'it\\'s'"
    """
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return "'" + escaped + "\\" * trailing + "'"


def is_quoted(value: str) -> bool:
    """Whether the value is one string literal in quotes of its own."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and parses(f"key={value}")


def parses(argument: str) -> bool:
    """Whether Hydra's grammar takes this override."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


def is_text(kind: Any) -> bool:
    """Whether a field's type is text or optional text."""
    return kind is str or (optional(kind) and str in get_args(kind))


def is_list(kind: Any) -> bool:
    """Whether a field's type is a list or an optional list."""
    return any(get_origin(option) is list for option in (get_args(kind) if optional(kind) else (kind,)))


def optional(kind: Any) -> bool:
    """Whether a field's type admits None."""
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
