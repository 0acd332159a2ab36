"""Samples to files: MIDI, WAV, piano-roll PNG and one HTML page with all of them.

Everything that can be refused is refused before the first file is written; each file then appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_bytes, atomic_write_text

if TYPE_CHECKING:
    from aurl.generation.generator import Sample
    from aurl.music.page import PageItem

FORMATS = ("midi", "wav", "png", "html")
SUFFIXES = {"midi": ".mid", "wav": ".wav", "png": ".png"}
PAGE_NAME = "index.html"
SMALLEST_WIDTH = 3
"""Digits of the number in a file's name, more if there are more than 999 samples."""
LISTED = 3


def write_samples(
    samples: Sequence[Sample],
    folder: Path,
    formats: Sequence[str] = FORMATS,
    overwrite: bool = False,
    title: str = "New music",
    intro: str = "",
    facts: Mapping[str, object] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write samples as ``sample_001.mid`` (.wav, .png) ... and ``index.html``.

    Args:
        samples: what the generator returned.
        folder: made if missing.
        formats: any of ``FORMATS``.
        overwrite: whether files of these names may be replaced.
        title: heading of the page.
        intro: a sentence below it, for instance the sampler's settings.
        facts: shown with every sample on the page, beside its seed, bars, notes, seconds and tracks.
        on_progress: called with (samples written, samples in all).

    Returns:
        The files written: those of each sample in the order of ``formats``, the page last.

    Raises:
        ValueError: an unknown format.
        AurlError: no samples, a sample without notes, a file that is there already, or a folder that cannot be written.
    """
    folder = Path(folder)
    formats = check_formats(formats)
    stems = file_stems(len(samples))
    check_samples(samples)
    planned = [folder / f"{stem}{SUFFIXES[name]}" for stem in stems for name in formats if name in SUFFIXES]
    if "html" in formats:
        planned.append(folder / PAGE_NAME)
    if not overwrite:
        refuse_existing(planned)
    cards: list[PageItem] = []
    for number, (sample, stem) in enumerate(zip(samples, stems, strict=True), start=1):
        name = f"Sample {number}" if len(samples) > 1 else title
        cards.append(write_sample(sample, folder / stem, formats, name, facts or {}))
        if on_progress is not None:
            on_progress(number, len(samples))
    if "html" in formats:
        from aurl.music.page import html_page

        atomic_write_text(folder / PAGE_NAME, html_page(cards, title, intro))
    return planned


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """The formats without repetition.

    Raises:
        ValueError: none or an unknown one.
    """
    chosen = tuple(dict.fromkeys([formats] if isinstance(formats, str) else formats))
    unknown = [name for name in chosen if name not in FORMATS]
    if unknown or not chosen:
        given = ", ".join(map(str, chosen)) or "empty"
        raise ValueError(f"formats={given}: allowed are one or more of {', '.join(FORMATS)}")
    return chosen


def file_stems(count: int) -> list[str]:
    """``sample_001`` and so on."""
    width = max(SMALLEST_WIDTH, len(str(count)))
    return [f"sample_{number:0{width}d}" for number in range(1, count + 1)]


def check_samples(samples: Sequence[Sample]) -> None:
    """Refuse what is not music.

    Raises:
        AurlError: no samples, or one without notes.
    """
    if not samples:
        raise AurlError("there are no samples to write; ask for num_samples=1 or more")
    silent = [number for number, sample in enumerate(samples, start=1) if count_notes(sample.score) == 0]
    if silent:
        numbers = ", ".join(map(str, silent[:LISTED])) + (" ..." if len(silent) > LISTED else "")
        raise AurlError(
            f"{len(silent)} of {len(samples)} samples have no notes (number {numbers}; "
            f"seed {samples[silent[0] - 1].seed}); nothing was written; "
            "take another seed, more bars or a model that was trained longer"
        )


def count_notes(score: Any) -> int:
    """Notes of all tracks."""
    return sum(len(track.notes) for track in score.tracks)


def refuse_existing(paths: Sequence[Path]) -> None:
    """Never write over music.

    Raises:
        AurlError: a path exists; the message says how to allow it.
    """
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise AurlError(f"{there[0]}{more} already there; choose another folder or allow it with overwrite=true")


def write_sample(
    sample: Sample, stem: Path, formats: Sequence[str], name: str, facts: Mapping[str, object]
) -> PageItem:
    """Write one sample's files and hand back its card for the page; sound is rendered once for both."""
    from aurl.music.page import PageItem

    audio = None
    if "midi" in formats:
        atomic_write_bytes(stem.with_suffix(".mid"), sample.score.dumps_midi())
    if "wav" in formats or "html" in formats:
        from aurl.music.audio import render

        audio = render(sample.score)
    if "wav" in formats and audio is not None:
        from aurl.music.audio import write_wav

        write_wav(stem.with_suffix(".wav"), audio)
    if "png" in formats:
        from aurl.music.pianoroll import draw

        draw(sample.score, stem.with_suffix(".png"), title=f"{name} · seed {sample.seed}")
    known = {"seed": sample.seed} | ({} if sample.bars is None else {"bars": sample.bars})
    return PageItem(sample.score, name, {**known, **facts}, audio=audio, file_stem=stem.name)
