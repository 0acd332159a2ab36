"""Which files hold music, by the ending of their name; imports nothing, so that listing files is quick."""

from __future__ import annotations

MIDI_SUFFIXES: frozenset[str] = frozenset({".mid", ".midi", ".kar", ".smf", ".rmi"})
NOTATION_SUFFIXES: frozenset[str] = frozenset({".musicxml", ".xml", ".mxl", ".mei", ".krn", ".abc"})
SCORE_SUFFIXES: frozenset[str] = MIDI_SUFFIXES | NOTATION_SUFFIXES
"""Suffixes (lower case) of the files that :func:`aurl.music.score.read_score` reads."""
