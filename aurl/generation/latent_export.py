"""What was done with latents, as files: music, pictures, and one self-contained page with all of it.

Everything that can be refused is refused before the first file is written; each file then appears whole or not at all.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.generation.export import PAGE_NAME, SUFFIXES, check_formats, count_notes, refuse_existing, write_sample
from aurl.generation.generator import Sample
from aurl.generation.latent_piece import LatentPiece, save_latents
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_bytes, atomic_write_text

if TYPE_CHECKING:
    from aurl.music.page import PageItem

LATENTS_SUFFIX = ".npz"
PICTURE = "max-width:max(100%,860px)"
"""Style of pictures: no wider than the page, but where that is too narrow to read them they are moved sideways."""


@dataclass(frozen=True)
class Shown:
    """A piece to be written and put on the page."""

    stem: str
    """Name of its files without suffix."""
    title: str
    sample: Sample
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A picture to be written and put on the page."""

    stem: str
    caption: str
    draw: Callable[[], bytes]
    """Makes the PNG; not called where formats have no use for it."""


@dataclass(frozen=True)
class Numbers:
    """A table on the page."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Outcome:
    """What came out of one command."""

    title: str
    intro: str
    shown: Sequence[Shown] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Numbers] = ()
    latents: Mapping[str, LatentPiece] = field(default_factory=dict)
    """Name of the file without suffix -> what it holds."""


def planned_files(outcome: Outcome, folder: Path, formats: Sequence[str]) -> list[Path]:
    """The files that :func:`write_outcome` writes: music, pictures, latents, the page last."""
    formats = check_formats(formats)
    files = [folder / f"{each.stem}{SUFFIXES[name]}" for each in outcome.shown for name in formats if name in SUFFIXES]
    if "png" in formats:
        files += [folder / f"{each.stem}.png" for each in outcome.pictures]
    files += [folder / f"{stem}{LATENTS_SUFFIX}" for stem in outcome.latents]
    return [*files, folder / PAGE_NAME] if "html" in formats else files


def write_outcome(
    outcome: Outcome,
    folder: Path,
    formats: Sequence[str],
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write an outcome.

    Args:
        outcome: what came out.
        folder: made if missing.
        formats: any of midi, wav, png and html; latents are written whatever is chosen.
        overwrite: whether files of these names may be replaced.
        on_progress: called with (pieces written, pieces in all).

    Returns:
        The files written, the page last.

    Raises:
        ValueError: an unknown format.
        AurlError: a piece without notes, or a file that is there already.
    """
    formats = check_formats(formats)
    silent = [each.title for each in outcome.shown if not count_notes(each.sample.score)]
    if silent:
        raise AurlError(f"{silent[0]} has no notes; nothing was written; train longer, or move less")
    files = planned_files(outcome, folder, formats)
    if not overwrite:
        refuse_existing(files)
    for stem, piece in outcome.latents.items():
        save_latents(piece, folder / f"{stem}{LATENTS_SUFFIX}")
    drawn = [each.draw() for each in outcome.pictures] if {"png", "html"} & set(formats) else []
    if "png" in formats:
        for picture, png in zip(outcome.pictures, drawn, strict=True):
            atomic_write_bytes(folder / f"{picture.stem}.png", png)
    cards = []
    for number, each in enumerate(outcome.shown, start=1):
        cards.append(write_sample(each.sample, folder / each.stem, formats, each.title, each.facts))
        if on_progress is not None:
            on_progress(number, len(outcome.shown))
    if "html" in formats:
        atomic_write_text(folder / PAGE_NAME, outcome_page(outcome, cards, drawn))
    return files


def outcome_page(outcome: Outcome, cards: Sequence[PageItem], pictures: Sequence[bytes]) -> str:
    """The page as text: pictures (PNG), tables, then pieces with players and piano rolls."""
    from aurl.music.page import POLICY, sample_cards, sample_script, sample_style
    from aurl.utils.pages import Section, card, document, table, text

    sections: list[Section] = []
    if outcome.pictures:
        images = "".join(
            card(
                f'<p>{text(each.caption)}</p><div class=scroll><img style="{PICTURE}" alt="{text(each.caption)}" '
                f'src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}"></div>'
            )
            for each, png in zip(outcome.pictures, pictures, strict=True)
        )
        sections.append(("Pictures", "pictures", images))
    if outcome.tables:
        tables = "".join(
            card(
                f"<p>{text(each.title)}</p>"
                + table(
                    each.heads,
                    [[text(cell) for cell in row] for row in each.rows],
                    range(1, len(each.heads)),
                    f"table-{number}",
                )
            )
            for number, each in enumerate(outcome.tables, start=1)
        )
        sections.append(("Numbers", "numbers", tables))
    if cards:
        sections.append(("Listen", "listen", "".join(sample_cards(cards))))
    return document(outcome.title, text(outcome.intro), sections, POLICY, sample_style(), sample_script())
