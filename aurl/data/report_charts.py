"""The charts of the data report in the order in which they are read: histograms of measures, and bars of kinds.

Bars name metres, keys, instruments, pitches and pitch classes. Each bar carries the pieces behind it, those that have
most of it first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aurl.data.report_measures import Chart, Row, chart, histogram, measures_of
from aurl.music.instruments import PITCH_CLASSES, PROGRAMS, pitch_name
from aurl.music.keys import KEY_NAMES
from aurl.music.statistics import DRUM_PROGRAM

MOST_BARS = 20
"""Kinds beyond the commonest are one bar."""
HALF_OCTAVE = 6
PERCENT = 100.0
DRUMS, NOT_GIVEN, NO_KEY, OTHERS = "Drums", "none given", "no pitches", "others"

SECTIONS: dict[str, tuple[str, ...]] = {
    "Length": ("beats", "bars", "seconds", "tokens"),
    "Time": ("metres", "tempo", "off_grid", "silence"),
    "Texture": ("density", "notes_per_second", "polyphony", "doubled"),
    "Pitch": ("pitch_classes", "keys", "declared_keys", "key_correlation", "pitches", "pitch_low", "pitch_high"),
    "Preprocessing": ("off_grid_before", "onset_error_mean", "onset_error_p95", "duration_error_mean"),
    "Sound": ("programs", "tracks", "velocity", "velocity_spread"),
}
"""Heading -> the charts below it."""


def charts(rows: Sequence[Row]) -> list[Chart]:
    """All charts of a corpus, in the order of ``SECTIONS``."""
    makers: dict[str, Callable[[Sequence[Row]], Chart]] = {
        "metres": _metres,
        "keys": _keys,
        "declared_keys": _declared_keys,
        "programs": _programs,
        "pitches": _pitches,
        "pitch_classes": _pitch_classes,
    }
    by_name = {measure.name: measure for measure in measures_of(rows)}
    made = []
    for section, names in SECTIONS.items():
        for name in (name for name in names if name in makers or name in by_name):
            one = makers[name](rows) if name in makers else histogram(by_name[name], rows)
            made.append({**one, "section": section})
    return made


def main_metre(row: Row) -> str:
    """The metre that holds for most of a piece."""
    return max(row["metres"], key=row["metres"].__getitem__) if row["metres"] else NOT_GIVEN


def _metres(rows: Sequence[Row]) -> Chart:
    kinds = _gathered((number, main_metre(row) if row["metre_declared"] else NOT_GIVEN) for number, row in _all(rows))
    return chart(
        "metres", "Metres", "", "The metre that holds for most of each piece.",
        "Files without a metre count as 4/4, often wrongly. One metre for everything, or 1/4, is often only a default.",
        _bars(kinds),
    )  # fmt: skip


def _keys(rows: Sequence[Row]) -> Chart:
    kinds = _gathered((number, row["key"] or NO_KEY) for number, row in _all(rows))
    return chart(
        "keys", "Keys, by the notes", "",
        "The key whose profile fits the notes best (Krumhansl's method). Relative keys are its usual mistake.",
        "Keys that are rare here stay rare in what a model writes, unless augment.transpose evens them out.",
        _in_order(kinds, [*KEY_NAMES, NO_KEY]),
    )  # fmt: skip


def _declared_keys(rows: Sequence[Row]) -> Chart:
    kinds = _gathered((number, row["keys"][0] if row["keys"] else NOT_GIVEN) for number, row in _all(rows))
    return chart(
        "declared_keys", "Keys, by the files", "", "The first key signature that each file declares.",
        "C major everywhere is a default, not a key; many programs write every minor key as its relative major.",
        _in_order(kinds, [*KEY_NAMES, NOT_GIVEN]),
    )  # fmt: skip


def program_name(program: int) -> str:
    """Name of a General MIDI program, or of the drums."""
    return DRUMS if program == DRUM_PROGRAM else PROGRAMS[min(max(program, 0), len(PROGRAMS) - 1)]


def _programs(rows: Sequence[Row]) -> Chart:
    kinds: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for number, row in _all(rows):
        for program, notes in row["programs"].items():
            kinds[program_name(int(program))].append((notes, number))
    return chart(
        "programs", "Instruments", "", "In how many pieces each instrument plays.",
        "Everything on the piano often means that the instruments were never set.", _bars(_sorted(kinds)),
    )  # fmt: skip


def _pitches(rows: Sequence[Row]) -> Chart:
    totals: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, row in _all(rows):
        for pitch, count in enumerate(row["pitch_counts"], start=row["pitch_low"] or 0):
            if count:
                totals[pitch // HALF_OCTAVE].append((count, number))
    bins = []
    for place in range(min(totals, default=0), max(totals, default=-1) + 1):
        low = place * HALF_OCTAVE
        notes: Counter[int] = Counter()
        for count, number in totals[place]:
            notes[number] += count
        pieces = sorted(notes, key=lambda number: (-notes[number], number))
        label = f"{pitch_name(low)} to {pitch_name(low + HALF_OCTAVE - 1)}"
        bins.append({"label": label, "value": notes.total(), "pieces": pieces})
    return chart(
        "pitches", "Pitches", "", "How many notes lie in each half octave (C4 is middle C), without drums.",
        "Notes far outside A0 to C8 are rarely meant; those beyond tokenizer.pitch_range move by octaves.",
        bins, counts="notes",
    )  # fmt: skip


def _pitch_classes(rows: Sequence[Row]) -> Chart:
    sounding = [(number, row) for number, row in _all(rows) if row["pitch_classes"]]
    bins = []
    for pitch_class, name in enumerate(PITCH_CLASSES):
        shares = [row["pitch_classes"][pitch_class] for _, row in sounding]
        most = [n for n, row in sounding if max(row["pitch_classes"]) == row["pitch_classes"][pitch_class]]
        mean = PERCENT * sum(shares) / len(shares) if shares else 0.0
        bins.append({"label": name, "value": round(mean, 2), "pieces": most})
    return chart(
        "pitch_classes", "Pitch classes", "",
        "The share of sounding time of each pitch class. Behind each bar: the pieces that have most of it.",
        "Even bars mean that all keys occur. One tall bar may be a drone or a drum track without its mark.",
        bins, counts="percent of sounding time",
    )  # fmt: skip


# --- bars -------------------------------------------------------------------------------------------------------------


def _all(rows: Sequence[Row]) -> Iterable[tuple[int, Row]]:
    return enumerate(rows)


def _gathered(pairs: Iterable[tuple[int, str]]) -> dict[str, list[int]]:
    """Pieces by kind."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for number, kind in pairs:
        kinds[kind].append(number)
    return kinds


def _sorted(kinds: Mapping[str, list[tuple[float, int]]]) -> dict[str, list[int]]:
    """Pieces by kind, those with most of it first, each once."""
    found = {}
    for kind, pairs in kinds.items():
        ordered = [number for _, number in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))]
        found[kind] = list(dict.fromkeys(ordered))
    return found


def _bars(kinds: Mapping[str, list[int]]) -> list[dict[str, Any]]:
    """The commonest kinds first, the rest as one bar."""
    ordered = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    bars = [{"label": kind, "value": len(pieces), "pieces": pieces} for kind, pieces in ordered[:MOST_BARS]]
    if rest := ordered[MOST_BARS:]:
        pieces = sorted({number for _, members in rest for number in members})
        bars.append({"label": f"{OTHERS} ({len(rest)})", "value": len(pieces), "pieces": pieces})
    return bars


def _in_order(kinds: Mapping[str, list[int]], order: Sequence[str]) -> list[dict[str, Any]]:
    """Kinds in a fixed order, those that do not occur left out."""
    return [{"label": kind, "value": len(kinds[kind]), "pieces": kinds[kind]} for kind in order if kind in kinds]
