"""Writing the report of ``aurl-evaluate``: report.html, report.json and the samples as MIDI files in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from aurl.cli.evaluate_model import Drawn
    from aurl.evaluation.folder import FolderReport
    from aurl.music.page import PageItem

log = get_logger("cli.evaluate_report")

PAGE, FIGURES, SAMPLES = "report.html", "report.json", "samples"
SAMPLE_PATTERN = "sample_[0-9][0-9][0-9][0-9].mid"


def example_items(
    report: FolderReport, score_of: Callable[[str], Any], bars_of: Callable[[str], int | None] | None = None
) -> tuple[list[PageItem], str]:
    """The pieces to listen to, and how they were chosen.

    Args:
        report: what was measured.
        score_of: name of a piece in the report -> its score.
        bars_of: name of a piece -> its bars, where they are known; else they are counted in the score.
    """
    from aurl.evaluation.examples import choose_examples, criterion
    from aurl.music.page import PageItem

    items = []
    for example in choose_examples(report):
        facts: dict[str, object] = {"inside the band": f"{100 * example.share:.0f} %"}
        if example.reasons:
            facts["fails"] = "; ".join(example.reasons)
        if bars_of is not None and (bars := bars_of(example.path)) is not None:
            facts["bars"] = bars
        stem = Path(example.path).stem
        items.append(
            PageItem(score_of(example.path), f"{example.role}: {printable_name(example.path)}", facts, file_stem=stem)
        )
    return items, criterion(report)


def printable_name(path: str) -> str:
    """A file name that can be written into a page."""
    from aurl.utils.pages import printable

    return "".join(letter if letter.isprintable() else "?" for letter in printable(path))


def write_report(
    folder: Path,
    title: str,
    intro: str,
    parts: Mapping[str, Any],
    figures: Mapping[str, Any],
    measured: FolderReport | None = None,
    score_of: Callable[[str], Any] | None = None,
    bars_of: Callable[[str], int | None] | None = None,
) -> list[Path]:
    """Write the page and the figures.

    Args:
        folder: made if missing; files of an earlier report are written over.
        title: heading.
        intro: sentence below it.
        parts: sections of the page, see ``evaluation_page``.
        figures: the JSON file.
        measured: music that was measured; its distributions are plotted and its examples played.
        score_of: name of a piece -> its score.
        bars_of: name of a piece -> its bars, where they are known.

    Returns:
        The files written.
    """
    from aurl.evaluation.report_music import chart_data
    from aurl.evaluation.report_page import evaluation_page
    from aurl.utils.files import atomic_write_json, atomic_write_text

    items: Sequence[PageItem] = ()
    criterion, shown = "", dict(parts)
    if measured is not None and score_of is not None:
        items, criterion = example_items(measured, score_of, bars_of)
        shown["charts"] = chart_data(measured)
    page = evaluation_page(title, intro, shown, items, criterion)
    atomic_write_json(folder / FIGURES, dict(figures))
    atomic_write_text(folder / PAGE, page)
    log.debug("report of %d kB", len(page) // 1000)
    return [folder / PAGE, folder / FIGURES]


def write_samples(folder: Path, drawn: Drawn) -> None:
    """The samples as MIDI files below the report's folder; those of an earlier report go."""
    from aurl.utils.files import atomic_write_bytes

    for old in (folder / SAMPLES).glob(SAMPLE_PATTERN):
        if old.name not in drawn.samples:
            old.unlink()
    for name, sample in drawn.samples.items():
        atomic_write_bytes(folder / SAMPLES / name, sample.score.dumps_midi())
