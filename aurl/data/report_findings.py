"""What a reader of the data report should look at first: a few sentences, each with the place that shows more.

Every rule is a function of the finished report and its rows that returns sentences; thresholds stand at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from aurl.data.report_measures import SPLITS, Row

FEW_PIECES = 20
SPOILED_SHARE = 0.05
"""More than this share of files left out is worth a look."""
MIXED_SHARE = 0.05
"""Both kinds of timing occur when each has more than this share of the pieces."""
COMMON_SHARE = 0.2
DEFAULT_KEY_SHARE = 0.8
"""So many declared keys being C major, while the notes say otherwise, is a default."""
KEY_AGREEMENT = 0.5
DOUBLED_SHARE = 0.2
"""A piece with more doubled notes than this has most likely a track twice."""
SHORT_BEATS = 8.0
AUDIBLE_MILLISECONDS = 30.0
"""Notes that move farther than this are heard to have moved (just noticeable for a single onset among regular ones)."""

Report = Mapping[str, Any]
Finding = dict[str, str]
"""``level`` (worry or note), ``text``, ``place`` (an anchor of the page)."""


def findings(report: Report, rows: Sequence[Row]) -> list[Finding]:
    """Sentences about what stands out, worries first."""
    found = [finding for rule in RULES for finding in rule(report, rows)]
    return sorted(found, key=lambda finding: finding["level"] != "worry")


def _worry(text: str, place: str) -> Finding:
    return {"level": "worry", "text": text, "place": place}


def _note(text: str, place: str) -> Finding:
    return {"level": "note", "text": text, "place": place}


def _size(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    if len(rows) < FEW_PIECES:
        yield _note(f"{_pieces(len(rows))}: too few to call anything usual or unusual.", "counts")
    for split in SPLITS:
        if report["counts"][split]["pieces"] == 0:
            use = {
                "train": "nothing can be trained",
                "valid": "training cannot choose its best checkpoint",
                "test": "nothing is left to measure the model with",
            }[split]
            yield _worry(f"The {split} split is empty: {use}.", "counts")


def _left_out(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    skipped = report["counts"]["all"]["skipped"]
    if skipped:
        share = skipped / (skipped + len(rows))
        say = _worry if share > SPOILED_SHARE else _note
        yield say(f"{_files(skipped)} ({share:.1%}) could not be read and {_is(skipped)} left out.", "quarantine")
    if repaired := report["counts"]["all"]["repaired"]:
        yield _note(f"{_files(repaired)} {_is(repaired)} damaged and {_is(repaired)} repaired on reading.", "repairs")
    for row in report["changes"]:
        if row["kind"] == "notes_dropped":
            yield _worry(
                f"{row['count']:,} notes have no token and are lost: drum keys that the tokenizer does not know, or "
                "pitches outside tokenizer.pitch_range.",
                "changes",
            )


def _copies(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    duplicates = report["duplicates"]
    if across := len(duplicates["across"]):
        yield _worry(
            f"{across:,} {'pair' if across == 1 else 'pairs'} of near-duplicates {'lies' if across == 1 else 'lie'} in "
            "different splits: figures of held-out music may be too good.",
            "duplicates",
        )
    if extra := duplicates["extra"]:
        groups = len(duplicates["groups"])
        yield _note(
            f"{groups:,} {'group' if groups == 1 else 'groups'} of near-duplicates hold{'s' if groups == 1 else ''} "
            f"{_pieces(extra)} too many: such music counts several times in training.",
            "duplicates",
        )


def _timing(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    performed = sum(row["performed"] for row in rows)
    if performed:
        yield _note(
            f"{_pieces(performed)} of {len(rows):,} {_look(performed)} performed: notes keep no beat of the file, so "
            "that bars mean nothing there. Tokens round such rhythm to their grid.",
            "off_grid",
        )
        if MIXED_SHARE < performed / len(rows) < 1 - MIXED_SHARE:
            yield _note("Performed and notated music are mixed; a model will mix them too.", "off_grid")
    if shifted := sum(row["shifted"] for row in rows):
        yield _note(
            f"{_pieces(shifted)} {_is(shifted)} on a grid, but all notes lie beside the file's beats by one amount: "
            "bars and beats are wrong there.",
            "off_grid",
        )
    silent = sum(not row["metre_declared"] for row in rows)
    if rows and silent / len(rows) > SPOILED_SHARE:
        yield _note(f"{_pieces(silent)} {_has(silent)} no metre and count as 4/4.", "metres")
    short = sum(row["beats"] < SHORT_BEATS for row in rows)
    if short:
        yield _note(f"{_pieces(short)} {_is(short)} shorter than {SHORT_BEATS:.0f} beats.", "beats")


def _quantised(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    errors = [row["onset_error_mean"] for row in rows if row.get("onset_error_mean") is not None]
    if not errors:
        return
    middle, far = median(errors), sum(error > AUDIBLE_MILLISECONDS for error in errors)
    yield _note(f"Quantisation moved onsets by {middle:.1f} ms (median of the pieces' means).", "onset_error_mean")
    if far:
        yield _worry(
            f"Quantisation moved {_pieces(far)} by more than {AUDIBLE_MILLISECONDS:.0f} ms on average: their rhythm is "
            "on another grid, or their beats are not those of the music.",
            "onset_error_mean",
        )


def _sound(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    flat = sum(row["velocity_values"] == 1 and row["notes"] > 1 for row in rows)
    if rows and flat / len(rows) > COMMON_SHARE:
        yield _note(
            f"{_pieces(flat)} {_has(flat)} one velocity throughout: no dynamics to learn there.", "velocity_spread"
        )
    doubled = sum((row["doubled"] or 0) > DOUBLED_SHARE for row in rows)
    if doubled:
        yield _note(f"In {_pieces(doubled)} more than {DOUBLED_SHARE:.0%} of the notes are doubled.", "doubled")


def _keys(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    declared = [row for row in rows if row["keys"] and row["key"]]
    default = sum(row["keys"][0] == "C major" for row in declared)
    agreeing = sum(row["keys"][0] == row["key"] for row in declared)
    if declared and default / len(declared) > DEFAULT_KEY_SHARE and agreeing / len(declared) < KEY_AGREEMENT:
        yield _note(
            "Key signatures say C major nearly everywhere, the notes do not: do not rely on them.", "declared_keys"
        )


def _odd(report: Report, rows: Sequence[Row]) -> Iterator[Finding]:
    odd = {found["piece"] for measure in report["outliers"] for found in measure["pieces"]}
    if odd:
        yield _note(f"{_pieces(len(odd))} {_is(len(odd))} unusual by at least one measure.", "outliers")


RULES: tuple[Callable[[Report, Sequence[Row]], Iterator[Finding]], ...] = (
    _size,
    _copies,
    _left_out,
    _timing,
    _quantised,
    _sound,
    _keys,
    _odd,
)


# --- words ------------------------------------------------------------------------------------------------------------


def _pieces(count: int) -> str:
    return f"{count:,} {'piece' if count == 1 else 'pieces'}"


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def _look(count: int) -> str:
    return "looks" if count == 1 else "look"
