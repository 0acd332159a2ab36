"""Notation in, scores out: MusicXML, compressed MusicXML, MEI, Humdrum and ABC through verovio.

verovio turns notation into MIDI; what it leaves to do is here. It ends every note one tick early, writes a track for an
empty staff layer, repeats each metre once a staff, and puts an incomplete first measure at tick 0, so that every later
downbeat falls off the bar line. The measures of the notation (not a guess from the notes) say where the bars are:

- a first measure shorter than its metre is a pick-up: everything moves right by what is missing;
- shorter measures that complete each other (either side of a repeat sign) are one bar;
- any other measure whose length is not its metre's gets a metre of its own length, so that the next downbeat is a bar line.

Repeats are not written out: a bar of the page is a bar of the score.
"""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from symusic.core import ScoreTick, TimeSignatureTick, TimeSignatureTickList

from aurl.utils.errors import UnreadableFile

INPUT_FORMATS: dict[str, str] = {
    ".musicxml": "xml",
    ".xml": "auto",
    ".mxl": "xml",
    ".mei": "mei",
    ".krn": "humdrum",
    ".abc": "abc",
}
"""File suffix to verovio's name of the format."""

MAX_METRE_NUMERATOR = 64
MAX_METRE_DENOMINATOR = 64
VEROVIO_SHORTENS_NOTES_BY = 1  # ticks
MXL_CONTAINER = "META-INF/container.xml"

_XML_ENCODING = re.compile(r"""(<\?xml[^>]*?)\s+encoding\s*=\s*["'][^"']*["']""")
_ABC_TUNE = re.compile(r"^X:", re.MULTILINE)


def read_notation(path: Path, data: bytes, max_bytes: int) -> list[ScoreTick]:
    """Read every tune of a notation file.

    Args:
        path: the file, for its suffix and for messages.
        data: the file's bytes.
        max_bytes: most bytes that a compressed file may unpack to.

    Returns:
        One score for each tune; only ABC files hold more than one. A tune of several that cannot be read is left out.

    Raises:
        UnreadableFile: nothing in it could be read.
    """
    input_format = INPUT_FORMATS[path.suffix.lower()]
    if data[:4] == b"PK\x03\x04":
        data = _unpack_mxl(path, data, max_bytes)
    text = _decode(data)
    if input_format != "abc":
        return [notation_to_score(text, input_format, name=str(path))]
    scores: list[ScoreTick] = []
    failure: UnreadableFile | None = None
    for tune in split_abc(text):
        try:
            scores.append(notation_to_score(tune, input_format, name=str(path)))
        except UnreadableFile as error:
            failure = error
    if failure is not None and not scores:
        raise failure
    return scores


def split_abc(text: str) -> list[str]:
    """Cut an ABC tune book into tunes, each with the book's header (what stands before the first ``X:``).

    Example:
        >>> split_abc("X:1\\nK:C\\nc\\n\\nX:2\\nK:G\\ng\\n")
        ['X:1\\nK:C\\nc\\n\\n', 'X:2\\nK:G\\ng\\n']
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
    layout = lay_out_bars(_measures(score, timemap), score.tpq)
    if layout is not None:
        score.time_signatures = TimeSignatureTickList(
            [TimeSignatureTick(time, numerator, denominator) for time, numerator, denominator in layout.metres]
        )
        _shift(score, layout.shift)
    return score


# --- bars -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """A measure as notated: onset and length in ticks, and the metre in force."""

    start: int
    length: int
    numerator: int
    denominator: int

    def full_length(self, ticks_per_quarter: int) -> int:
        """Length in ticks that its metre asks for."""
        return 4 * ticks_per_quarter * self.numerator // self.denominator


@dataclass(frozen=True)
class BarLayout:
    """Where bars fall: ``shift`` ticks are put before the first note; metres are (tick before the shift, n, d)."""

    shift: int
    metres: list[tuple[int, int, int]]


def lay_out_bars(measures: list[Measure], ticks_per_quarter: int) -> BarLayout | None:
    """Find the pick-up and the metres that make every notated measure begin on a bar line.

    Args:
        measures: in order, without gaps.
        ticks_per_quarter: ticks in a quarter note.

    Returns:
        The layout, or None for music without measures.

    Example:
        >>> measures = [Measure(0, 1, 3, 4), Measure(1, 3, 3, 4), Measure(4, 3, 3, 4)]
        >>> lay_out_bars(measures, 1)
        BarLayout(shift=2, metres=[(0, 3, 4)])
    """
    if not measures:
        return None
    shift = 0
    metres: list[tuple[int, int, int]] = []
    index = 0
    while index < len(measures):
        measure = measures[index]
        metre = (measure.numerator, measure.denominator)
        full = measure.full_length(ticks_per_quarter)
        count = _measures_in_bar(measures, index, full)
        is_last = index + count == len(measures)
        if count == 1 and measure.length < full and index == 0 and not is_last:
            shift = full - measure.length
        elif count == 1 and measure.length % full and not (is_last and measure.length < full):
            metre = _metre_of_length(measure.length, measure.denominator, ticks_per_quarter) or metre
        if not metres or metres[-1][1:] != metre:
            metres.append((measure.start if metres else 0, *metre))
        index += count
    return BarLayout(shift, metres)


def _measures_in_bar(measures: list[Measure], index: int, full: int) -> int:
    """How many measures from ``index`` on make one full bar; 1 when they do not add up."""
    total = 0
    for count, measure in enumerate(measures[index:], start=1):
        if measure.length >= full or measure.full_length(1) != measures[index].full_length(1):
            return 1
        total += measure.length
        if total >= full:
            return count if total == full else 1
    return 1


def _metre_of_length(length: int, denominator: int, ticks_per_quarter: int) -> tuple[int, int] | None:
    """The metre of ``length`` ticks with the coarsest denominator from ``denominator`` on, if there is one."""
    while denominator <= MAX_METRE_DENOMINATOR:
        numerator, rest = divmod(length * denominator, 4 * ticks_per_quarter)
        if rest == 0 and 1 <= numerator <= MAX_METRE_NUMERATOR:
            return numerator, denominator
        denominator *= 2
    return None


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


def _shift(score: ScoreTick, ticks: int) -> None:
    """Move everything but what is set at the very start."""
    if ticks == 0:
        return
    moving: list[Any] = [score.markers]
    for track in score.tracks:
        moving += [track.notes, track.controls, track.pitch_bends, track.pedals, track.lyrics]
    for events in moving:
        for event in events:
            event.time += ticks
    opening: list[Any] = [score.time_signatures, score.key_signatures, score.tempos]
    for events in opening:
        for event in events:
            if event.time > 0:
                event.time += ticks


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

    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions({"expandNever": True, "breaks": "none"})
    toolkit.setInputFrom(input_format)
    if not data.strip() or not toolkit.loadData(data):
        raise UnreadableFile(name, "no notation that can be read (MusicXML, MEI, Humdrum or ABC)")
    midi = base64.b64decode(toolkit.renderToMIDI())
    timemap = toolkit.renderToTimemap({"includeMeasures": True})
    return midi, json.loads(timemap) if isinstance(timemap, str) else timemap


def _decode(data: bytes) -> str:
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
