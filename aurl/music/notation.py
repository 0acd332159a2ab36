"""Notation in, scores out: MusicXML, compressed MusicXML, MEI and Humdrum through verovio, ABC through abc.py.

verovio turns notation into MIDI; what it leaves to do is here. It ends every note one tick early, writes a track for an
empty staff layer, repeats each metre once a staff, and puts an incomplete first measure at tick 0, so that every later
downbeat falls off the bar line; bars.py puts that right from the measures of the notation. (Its ABC reader ends the
whole process on one in eight real tunes, which is why ABC has a parser of its own.)

Repeats are not written out: a bar of the page is a bar of the score.
"""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from symusic.core import ScoreTick, TimeSignatureTick, TimeSignatureTickList

from aurl.music.abc import abc_to_score
from aurl.music.bars import Measure, lay_out_bars, shift_score
from aurl.music.chord_sources import add_symbols, musicxml_symbols
from aurl.utils.errors import UnreadableFile
from aurl.utils.logging import get_logger

log = get_logger(__name__)

INPUT_FORMATS: dict[str, str] = {
    ".musicxml": "xml",
    ".xml": "auto",
    ".mxl": "xml",
    ".mei": "mei",
    ".krn": "humdrum",
    ".abc": "abc",
}
"""File suffix to verovio's name of the format."""

VEROVIO_SHORTENS_NOTES_BY = 1  # ticks
MXL_CONTAINER = "META-INF/container.xml"

_XML_ENCODING = re.compile(r"""(<\?xml[^>]*?)\s+encoding\s*=\s*["'][^"']*["']""")
_ABC_TUNE = re.compile(r"^X:", re.MULTILINE)


def read_notation(path: Path, data: bytes, max_bytes: int, tune: int | None = None) -> list[ScoreTick]:
    """Read every tune of a notation file.

    Args:
        path: the file, for its suffix and for messages.
        data: the file's bytes.
        max_bytes: most bytes that a compressed file may unpack to.
        tune: read this tune of an ABC file only, counted from 0.

    Returns:
        One score for each tune; only ABC files hold more than one. A tune of several that cannot be read is left out.

    Raises:
        UnreadableFile: nothing in it could be read.
    """
    input_format = INPUT_FORMATS[path.suffix.lower()]
    if data[:4] == b"PK\x03\x04":
        data = _unpack_mxl(path, data, max_bytes)
    text = decode_text(data)
    if input_format != "abc":
        return [notation_to_score(text, input_format, name=str(path))]
    tunes = split_abc(text)
    if tune is not None:
        return [abc_to_score(tunes[tune], str(path))] if tune < len(tunes) else []
    scores: list[ScoreTick] = []
    failure: UnreadableFile | None = None
    for text_of_tune in tunes:
        try:
            scores.append(abc_to_score(text_of_tune, str(path)))
        except UnreadableFile as error:
            failure = error
    if failure is not None and not scores:
        raise failure
    return scores


def split_abc(text: str) -> list[str]:
    r"""Cut an ABC tune book into tunes, each with the book's header (what stands before the first ``X:``).

    Example:
        >>> split_abc("X:1\nK:C\nc\n\nX:2\nK:G\ng\n")
        ['X:1\nK:C\nc\n\n', 'X:2\nK:G\ng\n']
    """
    starts = [match.start() for match in _ABC_TUNE.finditer(text)]
    if not starts:
        return [text]
    header = text[: starts[0]]
    ends = [*starts[1:], len(text)]
    return [header + text[start:end] for start, end in zip(starts, ends, strict=True)]


def notation_to_score(data: str, input_format: str = "auto", name: str = "notation") -> ScoreTick:
    """Turn notation into a score whose downbeats meet its bar lines.

    Args:
        data: the text of a MusicXML, MEI, Humdrum or ABC file (one tune).
        input_format: ``xml``, ``mei``, ``humdrum``, ``abc``, or ``auto`` to look at the text.
        name: what messages call it.

    Returns:
        Tick score, 120 ticks a quarter; one track for each staff (or part) that has notes, named as in the notation.

    Raises:
        UnreadableFile: verovio finds no music in it.
    """
    if input_format == "abc":
        return abc_to_score(data, name)
    midi, timemap = _convert(data, input_format, name)
    score = ScoreTick.from_midi(midi)
    for track in [track for track in score.tracks if len(track.notes) == 0]:
        score.tracks.remove(track)
    if not score.tracks:
        raise UnreadableFile(name, "no notes in it")
    for track in score.tracks:
        for note in track.notes:
            note.duration += VEROVIO_SHORTENS_NOTES_BY
    _drop_repeated_signatures(score)
    _add_chord_symbols(score, data, timemap)
    layout = lay_out_bars(_measures(score, timemap), score.tpq)
    if layout is not None:
        score.time_signatures = TimeSignatureTickList(
            [TimeSignatureTick(time, numerator, denominator) for time, numerator, denominator in layout.metres]
        )
        shift_score(score, layout.shift)
    return score


def _measures(score: ScoreTick, timemap: list[dict[str, Any]]) -> list[Measure]:
    """The measures of verovio's time map, in ticks; empty when the music has no metre."""
    starts = sorted({round(event["qstamp"] * score.tpq) for event in timemap if "measureOn" in event})
    signatures = [(sign.time, sign.numerator, sign.denominator) for sign in score.time_signatures]
    if not starts or not signatures or signatures[0][0] > starts[0]:
        return []
    end = max(score.end(), round(timemap[-1]["qstamp"] * score.tpq))
    measures = []
    current = 0
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        while current + 1 < len(signatures) and signatures[current + 1][0] <= start:
            current += 1
        _, numerator, denominator = signatures[current]
        if stop > start and numerator >= 1 and denominator >= 1:
            measures.append(Measure(start, stop - start, numerator, denominator))
    return measures


def _add_chord_symbols(score: ScoreTick, data: str, timemap: list[dict[str, Any]]) -> None:
    """Write the chord symbols of MusicXML into the score's markers, by where verovio's measures begin."""
    symbols = musicxml_symbols(data) if "score-partwise" in data else []
    starts = sorted({event["qstamp"] for event in timemap if "measureOn" in event})
    kept = [symbol for symbol in symbols if symbol[0] < len(starts)]
    if len(kept) < len(symbols):
        log.warning("%d chord symbols stand after the last measure and are left out", len(symbols) - len(kept))
    end = score.end()
    ticks = [(min(max(round((starts[m] + after) * score.tpq), 0), end), chord) for m, after, chord in kept]
    add_symbols(score, ticks)


def _drop_repeated_signatures(score: ScoreTick) -> None:
    """Keep one metre, key and tempo a time: verovio writes them once for each staff."""
    for name in ("time_signatures", "key_signatures", "tempos"):
        events = getattr(score, name)
        events.sort()
        seen: set[int] = set()
        kept = []
        for event in events:
            if event.time not in seen:
                kept.append(event)
            seen.add(event.time)
        setattr(score, name, type(events)(kept))


# --- verovio and bytes ----------------------------------------------------------------------------------------------


def _convert(data: str, input_format: str, name: str) -> tuple[bytes, list[dict[str, Any]]]:
    """MIDI bytes and the time map of one piece of notation."""
    import verovio

    if data.lstrip()[:1] == "<":
        _check_xml(data, name)
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions({"expandNever": True, "breaks": "none"})
    toolkit.setInputFrom(input_format)
    if not data.strip() or not toolkit.loadData(data):
        raise UnreadableFile(name, "no notation that can be read (MusicXML, MEI, Humdrum or ABC)")
    midi = base64.b64decode(toolkit.renderToMIDI())
    timemap = toolkit.renderToTimemap({"includeMeasures": True})
    return midi, json.loads(timemap) if isinstance(timemap, str) else timemap


def _check_xml(text: str, name: str) -> None:
    """Refuse XML that is not well-formed: verovio would take what stands before the break for the whole piece."""
    try:
        expat.ParserCreate().Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise UnreadableFile(name, f"broken XML ({error})") from error


def decode_text(data: bytes) -> str:
    """Text of a notation file: by its byte order mark or XML declaration, else UTF-8, else Latin-1."""
    encodings = ["utf-8-sig"]
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    declared = re.match(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""", data[:256])
    if declared is not None:
        encodings.append(declared.group(1).decode("ascii"))
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        break
    else:
        text = data.decode("latin-1")
    return _XML_ENCODING.sub(r"\1", text, count=1).replace("\r\n", "\n").replace("\r", "\n")


def _unpack_mxl(path: Path, data: bytes, max_bytes: int) -> bytes:
    """The root file of a compressed MusicXML archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            root = _mxl_root(archive)
            if archive.getinfo(root).file_size > max_bytes:
                raise UnreadableFile(path, f"unpacks to more than {max_bytes} bytes")
            with archive.open(root) as file:
                return file.read(max_bytes)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise UnreadableFile(path, f"damaged compressed MusicXML ({error})") from error


def _mxl_root(archive: zipfile.ZipFile) -> str:
    """Name of the score in the archive: what its container says, else its first XML file."""
    names = archive.namelist()
    if MXL_CONTAINER in names:
        with archive.open(MXL_CONTAINER) as file:
            container = file.read(1 << 16)
        try:
            for element in ElementTree.fromstring(container).iter():
                if element.tag.rpartition("}")[2] == "rootfile" and element.get("full-path") in names:
                    return str(element.get("full-path"))
        except ElementTree.ParseError:
            pass  # a broken container: the first XML file is the score
    for name in names:
        if name.lower().endswith((".xml", ".musicxml")) and not name.startswith("META-INF/"):
            return name
    raise KeyError("no score in the archive")
