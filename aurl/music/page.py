"""One HTML page with scores to look at and listen to: no file beside it, no request to anywhere.

Each sample is a card: title, facts, player (compressed mono sound), piano roll as SVG with a playhead, and its MIDI
file as a data: link. Styles and script are in page.css, sample.css and page.js beside this module; other pages may show
the cards too. Times in the roll are seconds, so that the playhead moves evenly.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.audio import SAMPLE_RATE, encode_mp3_mono, render
from aurl.music.instruments import DRUM_KEYS, pitch_name
from aurl.music.pianoroll import BLACK_KEYS, COLOURS, NoteArrays, bar_lines, note_arrays
from aurl.utils.errors import AurlError

AUDIO_BUDGET_BYTES = 7_000_000
"""Compressed sound in one page; samples after that are shown without a player (base64 adds a third)."""
ROLL_WIDTH = 1100
"""Units of the drawing; it scales to the width of the card."""
MOST_BARS_TO_SCALE = 24
"""Longer rolls keep ``UNITS_PER_BAR`` and are scrolled sideways."""
UNITS_PER_BAR = 46.0
LEFT, LEFT_OF_DRUMS, RIGHT, TOP, BOTTOM = 46.0, 78.0, 8.0, 6.0, 18.0
COUNTS = ("bars", "notes", "seconds", "track", "tracks")
"""Facts that read as ``16 bars``; others read as ``seed 7``."""
PITCH_UNITS = (5.0, 9.0)
ROLL_HEIGHT = 260.0
DRUM_UNITS = 11.0
SHORTEST_NOTE = 2.0
DEFAULT_QPM = 120.0
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; media-src data:; img-src data:"


@dataclass(frozen=True)
class PageItem:
    """One card of the page."""

    score: Any
    """A symusic score in ticks."""
    title: str
    facts: Mapping[str, object] = field(default_factory=dict)
    """Shown under the title as ``name value``; bars, notes, seconds and tracks are added where missing."""
    audio: NDArray[np.float32] | None = None
    """(C, N) at ``rate``; None renders the score."""
    rate: int = SAMPLE_RATE
    file_stem: str = "music"
    """Name, without suffix, that the MIDI file gets when it is saved from the page."""


def html_page(items: Sequence[PageItem], title: str, intro: str = "") -> str:
    """The page as text, to be written as UTF-8.

    Args:
        items: the cards, in order.
        title: heading of the page.
        intro: a sentence below it.

    Raises:
        AurlError: no items, or a score without notes.

    Example:
        >>> page = html_page([PageItem(score, "Sample 1", {"seed": 1})], "Chorales")  # doctest: +SKIP
    """
    if not items:
        raise AurlError("a page needs at least one score")
    here = files("aurl.music")
    lead = f"<p class=intro>{html.escape(intro)}</p>" if intro else ""
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{(here / 'page.css').read_text(encoding='utf-8')}{sample_style()}</style></head>",
            f"<body><header><h1>{html.escape(title)}</h1>{lead}</header><main>",
            *sample_cards(items),
            "</main>",
            f"<script>{sample_script()}</script></body></html>",
            "",
        )
    )


def sample_cards(items: Sequence[PageItem]) -> list[str]:
    """The cards as HTML, with sound as far as ``AUDIO_BUDGET_BYTES`` reach.

    They need ``sample_style`` and, at the end of the page, ``sample_script``.
    """
    spent = 0
    cards = []
    for item in items:
        sound = encode_mp3_mono(item.audio if item.audio is not None else render(item.score), item.rate)
        spent += len(sound)
        cards.append(card(item, sound if spent <= AUDIO_BUDGET_BYTES else None))
    return cards


def sample_style() -> str:
    """CSS of the cards; --card, --edge, --ink and --soft are the page's."""
    return (files("aurl.music") / "sample.css").read_text(encoding="utf-8")


def sample_script() -> str:
    """JavaScript of the cards: playheads, one player at a time."""
    return (files("aurl.music") / "page.js").read_text(encoding="utf-8")


def card(item: PageItem, sound: bytes | None) -> str:
    """One sample: facts, player, roll, MIDI link; ``sound`` is an MP3, None where the page has no room for it."""
    notes = note_arrays(item.score)
    if len(notes) == 0:
        raise AurlError(f"{item.title}: the score has no notes, so there is nothing to show")
    lines = bar_lines(item.score, notes.end)
    known = dict(item.facts)
    for name, value in standard_facts(item.score, notes, lines).items():
        known.setdefault(name, value)
    facts = " · ".join(fact(name, str(value)) for name, value in known.items())
    legend = "".join(
        f'<span class=track style="--c:{COLOURS[i % len(COLOURS)]}">{html.escape(label)}</span>'
        for i, label in enumerate(notes.labels)
    )
    player = (
        f'<audio controls preload=metadata src="data:audio/mpeg;base64,{encode(sound)}"></audio>'
        if sound is not None
        else "<p class=silent>no player: the page has reached its size; play the sound file beside it</p>"
    )
    midi = f"data:audio/midi;base64,{encode(item.score.dumps_midi())}"
    name = html.escape(f"{item.file_stem}.mid", quote=True)
    return (
        f"<article class=sample><div class=head><h2>{html.escape(item.title)}</h2><p class=facts>{facts}</p></div>"
        f'<div class=bar>{player}<a class=save download="{name}" href="{midi}">MIDI</a></div>'
        f"<p class=legend>{legend}</p><div class=roll>{roll(item, notes, lines)}</div></article>"
    )


def fact(name: str, value: str) -> str:
    """``seed 7`` or ``16 bars``, the value in bold."""
    bold = f"<b>{html.escape(value)}</b>"
    return f"{bold} {html.escape(name)}" if name in COUNTS else f"{html.escape(name)} {bold}"


def encode(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode("ascii")


def standard_facts(score: Any, notes: NoteArrays, lines: NDArray[np.float64]) -> dict[str, object]:
    """Bars, notes, seconds and tracks of a score."""
    seconds = float(seconds_at(score, np.array([notes.end]))[0])
    facts: dict[str, object] = {"bars": len(lines) - 1, "notes": len(notes), "seconds": f"{seconds:.1f}"}
    facts["track" if len(notes.labels) == 1 else "tracks"] = len(notes.labels)
    return facts


def seconds_at(score: Any, quarters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds since the start at times in quarter notes, by the tempo map."""
    changes = sorted((max(t.time, 0) / max(score.ticks_per_quarter, 1), float(t.qpm)) for t in score.tempos)
    if not changes or changes[0][0] > 0:
        changes.insert(0, (0.0, DEFAULT_QPM))
    at = np.array([time for time, _ in changes])
    pace = 60.0 / np.array([qpm for _, qpm in changes])  # seconds a quarter
    passed = np.concatenate([[0.0], np.cumsum(np.diff(at) * pace[:-1])])
    index = np.searchsorted(at, quarters, side="right") - 1
    return np.asarray(passed[index] + (quarters - at[index]) * pace[index])


def roll(item: PageItem, notes: NoteArrays, lines: NDArray[np.float64]) -> str:
    """The piano roll as SVG; ``data-left`` and ``data-scale`` tell the script where a second is."""
    is_drum = np.array(notes.drums)[notes.track]
    pitched = notes.pitch[~is_drum]
    low, high = (int(pitched.min()) - 1, int(pitched.max()) + 1) if len(pitched) else (0, -1)
    keys = sorted({int(key) for key in notes.pitch[is_drum]})
    rows = high - low + 1
    left = LEFT_OF_DRUMS if keys else LEFT
    tall = float(np.clip(ROLL_HEIGHT / rows, *PITCH_UNITS)) if rows else 0.0
    start = seconds_at(item.score, notes.onset)
    end = seconds_at(item.score, notes.onset + notes.duration)
    bars = seconds_at(item.score, lines)
    width = ROLL_WIDTH if len(lines) - 1 <= MOST_BARS_TO_SCALE else math.ceil((len(lines) - 1) * UNITS_PER_BAR)
    scale = (width - left - RIGHT) / max(float(bars[-1]), 1e-3)
    drum_top = TOP + rows * tall
    bottom = drum_top + len(keys) * DRUM_UNITS
    lines_down = len(keys) - 1 - np.searchsorted(keys, notes.pitch)  # meant for drums only
    tops = np.where(is_drum, drum_top + lines_down * DRUM_UNITS, TOP + (high - notes.pitch) * tall)
    marks = "".join(
        f'<rect class=n x="{left + scale * s:.1f}" y="{y + 0.5:.1f}" width="{max(scale * (e - s), SHORTEST_NOTE):.1f}" '
        f'height="{(DRUM_UNITS if d else tall) - 1:.1f}" rx="1.5" fill="{COLOURS[t % len(COLOURS)]}" '
        f'fill-opacity="{min(0.45 + 0.55 * v / 100, 1):.2f}"/>'
        for s, e, y, d, t, v in zip(start, end, tops, is_drum, notes.track, notes.velocity, strict=True)
    )
    ground = pitch_ground(low, high, tall, left, width) + drum_ground(keys, drum_top, left, width)
    size = f'width="{width}"' if width > ROLL_WIDTH else 'width="100%"'
    return (
        f'<svg viewBox="0 0 {width} {bottom + BOTTOM:.1f}" {size} role=img aria-label="piano roll: click to play" '
        f'data-left="{left}" data-scale="{scale:.4f}">{ground}{bar_marks(bars, left, scale, bottom)}{marks}'
        f'<line class=playhead x1="{left}" x2="{left}" y1="{TOP}" y2="{bottom:.1f}"/></svg>'
    )


def pitch_ground(low: int, high: int, tall: float, left: float, width: float) -> str:
    """Stripes at the black keys, a line under each C, note names."""
    parts = []
    for pitch in range(low, high + 1):
        y = TOP + (high - pitch) * tall
        if pitch % 12 in BLACK_KEYS:
            parts.append(
                f'<rect class=k x="{left}" y="{y:.1f}" width="{width - left - RIGHT:.1f}" height="{tall:.1f}"/>'
            )
        if pitch % 12 == 0:
            parts.append(f'<path class=c d="M{left} {y + tall:.1f}H{width - RIGHT}"/>')
        if pitch % 12 in (0, 7):
            style = "t" if pitch % 12 == 0 else "t s"
            parts.append(
                f'<text class="{style}" x="{left - 6}" y="{y + tall / 2 + 3.4:.1f}">{pitch_name(pitch)}</text>'
            )
    return "".join(parts)


def drum_ground(keys: list[int], top: float, left: float, width: float) -> str:
    """A line a drum, with its name."""
    parts = []
    for line, key in enumerate(reversed(keys)):
        y = top + line * DRUM_UNITS
        if line % 2 == 0:
            size = f'width="{width - left - RIGHT:.1f}" height="{DRUM_UNITS}"'
            parts.append(f'<rect class=k x="{left}" y="{y:.1f}" {size}/>')
        name = DRUM_KEYS.get(key, f"key {key}")
        parts.append(f'<text class="t s" x="{left - 6}" y="{y + 8.5:.1f}">{html.escape(name[:14])}</text>')
    return "".join(parts)


def bar_marks(bars: NDArray[np.float64], left: float, scale: float, bottom: float) -> str:
    """Bar lines and numbers."""
    parts = []
    for index, second in enumerate(bars):
        x = left + scale * second
        parts.append(f'<path class=b d="M{x:.1f} {TOP}V{bottom:.1f}"/>')
        if index < len(bars) - 1:
            parts.append(f'<text class=m x="{x + 2:.1f}" y="{bottom + 12:.1f}">{index + 1}</text>')
    return "".join(parts)
