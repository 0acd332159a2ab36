"""How large a music file may be before it is refused: one place for every limit of the reader, each with its unit.

The defaults lie far above what music needs; they are there so that no file can cost minutes or gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """What a file may hold at most.

    Example:
        >>> ReadLimits(events=1000).message("events", 2000)
        '2000 events; allowed: 1000 (limit: events)'
    """

    bytes: int = 8_000_000
    """Size of a MIDI file."""
    notation_bytes: int = 32_000_000
    """Size of a notation file, and of what a compressed one unpacks to: XML is wordy."""
    events: int = 500_000
    """MIDI events in all tracks."""
    ticks: int = 2**30
    """Every event and note end comes before this tick (times wrap at 2^31 in native code)."""
    hours: int = 1_000
    """Playing time by the tempo map."""
    tempi: int = 100_000
    """Tempo changes in all tracks."""
    tracks: int = 16_384
    """Tracks of a MIDI file, all songs in it together."""
    songs: int = 1_000
    """Independent songs in a MIDI file."""
    damages: int = 5_000
    """Places of one file that need repair: beyond it is noise, not music."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ValueError(f"limit {field.name}={value} is too small; allowed: 1 or more")

    def message(self, name: str, found: object, unit: str | None = None) -> str:
        """One line that names the limit, what was found and what is allowed.

        Args:
            name: field of this class.
            found: the value that is too large.
            unit: what is counted; the name itself when None.
        """
        return f"{found} {name if unit is None else unit}; allowed: {getattr(self, name)} (limit: {name})"


DEFAULT_LIMITS = ReadLimits()
UNBOUNDED = ReadLimits(bytes=2**62, notation_bytes=2**62)
"""No limit on the size of a file."""
