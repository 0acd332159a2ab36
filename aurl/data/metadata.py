"""What is known about a piece besides its notes: from files and folders beside it, and from the score itself.

:func:`sidecar_metadata` looks beside the file (tables are read and understood in metadata_tables.py, values are brought
to one form in metadata_values.py), :func:`score_metadata` into the score. Later in this list wins:

1. names: ``Composer - Title.mid``, ``Composer/Title.mid``, ``Genre/Composer/Title.mid``;
2. tables of the folders from the root down to the file's own: corpus.json (source and licence), then any CSV, TSV or
   JSONL whose rows name files, metadata.json and manifest.json;
3. the file's own JSON, ``song.json`` or ``song.mid.json``.

Nothing here raises for a bad file: it is told once in the log and counted (:func:`metadata_problems`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.data.metadata_tables import JSON_TABLES, folder_tables, read_json, tell, told
from aurl.data.metadata_values import MINOR_KEYS, key_name, normalised
from aurl.music.marks import MICROSECONDS_PER_MINUTE
from aurl.music.tempo_map import tempo_map

if TYPE_CHECKING:
    from symusic.core import ScoreTick

DRUM_PROGRAM = 128
"""How drums are written among programs, as in the manifests of corpora."""
TEMPO_DECIMALS, SECONDS_DECIMALS = 2, 2
SIDECAR_SUFFIX = ".json"
SEPARATORS = re.compile(r"\s+[-–—]\s+|_-_|-{3,}")
"""What stands between composer and title in a file name."""
TRACK_NUMBER = re.compile(r"^\d{1,3}(?:\s*[-–—.)]\s*|\s+)(?=\D)")
"""``01 - `` and the like at the head of a name."""
CODE_NAME = re.compile(r"[\d\W_]*|[0-9a-fA-F]{8,}")
"""Names that say nothing: numbers, and hexadecimal digests."""
GENERIC_FOLDERS = frozenset(
    {
        "midi", "midis", "mid", "data", "dataset", "datasets", "corpus", "raw", "clean", "train", "training", "valid",
        "validation", "val", "dev", "test", "eval", "songs", "song", "music", "musics", "tracks", "files", "scores",
        "score", "xml", "musicxml", "abc", "mxl", "kern", "pieces", "performances", "misc", "unsorted", "various",
        "new", "other", "downloads", "unknown", "archive", "full", "backup", "temp", "tmp",
    }
)  # fmt: skip
"""Folder names (lower case) that say nothing."""
GENRES = frozenset(
    {
        "ambient", "baroque", "blues", "children", "choral", "christmas", "classical", "country", "dance", "disco",
        "electronic", "ethnic", "folk", "funk", "game", "games", "gospel", "hip-hop", "hiphop", "house", "indie",
        "jazz", "latin", "metal", "opera", "pop", "punk", "ragtime", "rap", "reggae", "religious", "renaissance",
        "rnb", "rock", "romantic", "soul", "soundtrack", "soundtracks", "techno", "trance", "world",
    }
)  # fmt: skip
"""Folder names (lower case) that are read as a genre."""
DEFAULT_TITLES = re.compile(
    r"(?:untitled|track|piano|staff|part|voice|instrument|midi drums|midi|new|tempo|conductor|sequence|song|score|"
    r"melody|drums?|bass|guitar|strings?|violin|viola|cello|flute|organ|right|left|treble|soprano|alto|tenor|"
    r"control|setup)?"
    r"(?:\s*(?:track|hand|out|part|staff|map|name|piano))?[\W\d_]*",
    re.IGNORECASE,
)
"""Track names that are no titles."""


def metadata_problems() -> dict[str, int]:
    """How many files of metadata could not be used in this process, by kind, for reports and tests."""
    return told()


def sidecar_metadata(path: Path, root: Path) -> dict[str, Any]:
    """What files, tables and names around a music file say about it.

    Args:
        path: the music file; it need not exist.
        root: the corpus; folders above it are not looked at.

    Returns:
        Field names to values: ``title``, ``composer``, ``artist``, ``genre``, ``source``, ``licence``, ``key``
        (``F# minor``), ``meter`` (``3/4``), ``year`` (an integer), ``split`` (train, valid, test), ``tempo`` and
        everything else that was found under its own name. Precedence: see the module.

    Example:
        >>> sidecar_metadata(Path("/music/Satie/Gymnopedie 1.mid"), Path("/music"))
        {'composer': 'Satie', 'title': 'Gymnopedie 1'}
    """
    path, root = Path(path), Path(root)
    inside = path.is_relative_to(root) and path != root
    below = path.relative_to(root).parts if inside else (path.name,)
    found = _named(below)
    folder = root if inside else path.parent
    for depth in range(len(below)):
        for table in folder_tables(folder):
            found |= table.row("/".join(below[depth:]))
        if depth + 1 < len(below):
            folder = folder / below[depth]
    for sidecar in (path.with_suffix(SIDECAR_SUFFIX), path.with_name(path.name + SIDECAR_SUFFIX)):
        if sidecar.name not in JSON_TABLES and sidecar != path and sidecar.is_file():
            value = read_json(sidecar)
            if isinstance(value, dict):
                found |= normalised(value)
            elif value is not None:
                tell("not_an_object", sidecar, "is no JSON object with the fields of one piece")
    return found


def _named(below: tuple[str, ...]) -> dict[str, Any]:
    """What the names of a file and the folders above it say."""
    found: dict[str, Any] = {}
    folders = [_spaced(name) for name in below[:-1]]
    folders = [name for name in folders if name.casefold() not in GENERIC_FOLDERS and not CODE_NAME.fullmatch(name)]
    while folders and folders[0].casefold() in GENRES:
        found["genre"] = folders.pop(0)
    if folders and _may_be_person(folders[0]):
        found["composer"] = folders[0]
    stem = TRACK_NUMBER.sub("", Path(below[-1]).stem)
    parts = [_spaced(part) for part in SEPARATORS.split(stem)]
    parts = [part for part in parts if part]
    if len(parts) > 1 and not CODE_NAME.fullmatch(parts[0]):
        found["composer"], found["title"] = parts[0], " - ".join(parts[1:])
    elif parts and not CODE_NAME.fullmatch(parts[0]):
        found["title"] = parts[0]
    return found


def _spaced(name: str) -> str:
    """A name with spaces for underscores, and whatever bytes it had as text that can be stored."""
    text = name.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
    return " ".join(text.replace("_", " ").split())


def _may_be_person(name: str) -> bool:
    """Whether a folder's name can be that of a composer: it has a capital (or no such thing), and no digit."""
    return name[0] == name[0].upper() and name[0].isalpha() and not any(letter.isdigit() for letter in name)


# --- the score --------------------------------------------------------------------------------------------------------


def score_metadata(score: ScoreTick) -> dict[str, Any]:
    """What a score says about itself.

    Args:
        score: tick score with at least one note.

    Returns:
        ``programs`` (sorted, drums are 128), ``tracks`` and ``notes`` (tracks with notes count), ``seconds``,
        ``pitch_low`` and ``pitch_high`` (without drums), ``meters`` and ``meter`` (which holds longest), ``tempos``
        (how many are declared) and ``tempo`` (quarters a minute of the first), ``key`` (the first), ``has_pedal``,
        ``has_lyrics``, ``has_drums``, ``has_bends``, ``has_markers``, ``title``. What the score does not declare is
        left out.

    Example:
        >>> score_metadata(read_score(Path("waltz.mid")))["meter"]  # doctest: +SKIP
        '3/4'
    """
    tracks = [track for track in score.tracks if len(track.notes)]
    end = max((track.end() for track in tracks), default=0)
    found: dict[str, Any] = {
        "programs": sorted({DRUM_PROGRAM if track.is_drum else int(track.program) for track in tracks}),
        "tracks": len(tracks),
        "notes": score.note_num(),
        "seconds": round(float(tempo_map(score).to_seconds(end)), SECONDS_DECIMALS),
        "has_pedal": any(len(track.pedals) > 0 for track in score.tracks),
        "has_lyrics": any(len(track.lyrics) > 0 for track in score.tracks),
        "has_bends": any(len(track.pitch_bends) > 0 for track in score.tracks),
        "has_markers": len(score.markers) > 0,
        "has_drums": any(track.is_drum for track in tracks),
        "tempos": len(score.tempos),
    }
    pitches = [track.notes.numpy()["pitch"] for track in tracks if not track.is_drum]
    if pitches:
        found |= {"pitch_low": min(int(p.min()) for p in pitches), "pitch_high": max(int(p.max()) for p in pitches)}
    if meters := _meters(score, end):
        found |= {"meters": list(meters), "meter": max(meters, key=lambda meter: meters[meter])}
    if len(score.tempos):
        first = min(score.tempos, key=lambda tempo: tempo.time)
        found["tempo"] = round(MICROSECONDS_PER_MINUTE / first.mspq, TEMPO_DECIMALS)
    if len(score.key_signatures):
        sign = min(score.key_signatures, key=lambda sign: sign.time)
        found["key"] = key_name(int(sign.key), int(sign.tonality) in MINOR_KEYS)
    if title := _title(score):
        found["title"] = title
    return found


def _meters(score: ScoreTick, end: int) -> dict[str, int]:
    """Metres in the order in which they appear, with the ticks for which each holds; the first holds from the start."""
    signs = sorted(score.time_signatures, key=lambda sign: sign.time)
    ticks: dict[str, int] = defaultdict(int)
    for place, sign in enumerate(signs):
        start = sign.time if place else 0
        stop = signs[place + 1].time if place + 1 < len(signs) else max(end, sign.time)
        ticks[f"{sign.numerator}/{sign.denominator}"] += stop - start
    return ticks


def _title(score: ScoreTick) -> str:
    """The name of the first track where it reads like a title: by custom that of the whole file."""
    from aurl.music.instruments import PROGRAMS

    if not len(score.tracks):
        return ""
    name = " ".join(score.tracks[0].name.split())
    names = {track.name.strip() for track in score.tracks if len(track.notes)}
    instruments = {program.casefold() for program in PROGRAMS}
    is_shared = len(names) == 1 and score.tracks[0].name.strip() in names
    if not name.isprintable() or DEFAULT_TITLES.fullmatch(name) or name.casefold() in instruments:
        return ""
    return name if is_shared or not len(score.tracks[0].notes) else ""
