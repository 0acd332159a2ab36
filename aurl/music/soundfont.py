"""SoundFont 2 files: which recorded sample sounds for a program, pitch and velocity, and how it is tuned and shaped.

Here: the file format and :meth:`SoundFont.tone` (one sample at one pitch). audio.py sums the notes of a score.
The idea: a SoundFont is two layers of zones (preset over instrument) of numbered generators; both layers are flattened
into plain :class:`Region` objects once, and rendering needs nothing else.

Source: SoundFont Technical Specification 2.04, sections 7 (file), 8.1 (generators), 9.4 (how zones combine).
Modulators and the two low-frequency oscillators are left out. symusic's own synthesizer is not used: it ignores the
samples' own rate (most instruments sound at a wrong pitch, its issue 55), velocities and releases.
"""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.utils.errors import AurlError

DRUM_BANK = 128
CENTS = 1200  # cents (and timecents) of a factor of two
FULL_SCALE = 32768.0
ATTENUATION_SHARE = 0.4  # players of the format apply this share of the written attenuation, as the first hardware did
HIGHEST_CUTOFF_CENTS = 13500  # default of the filter: open
ABSOLUTE_CENTS_HZ = 8.176  # frequency of absolute cent 0
COARSE = 32768  # samples of one step of the coarse address generators
LOOPED = (1, 3)  # sampleModes that loop
DEFAULT_ROOT_KEY = 60

# Generator numbers (section 8.1.2) with their defaults.
DEFAULTS: dict[int, int] = {
    0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 12: 0, 45: 0, 50: 0,  # addresses: start, end, loop start, loop end; coarse
    8: HIGHEST_CUTOFF_CENTS, 17: 0,  # filter cutoff, pan
    34: -12000, 35: -12000, 36: -12000, 37: 0, 38: -12000, 39: 0, 40: 0,  # volume envelope, its scaling by key
    48: 0, 51: 0, 52: 0, 54: 0, 56: 100, 58: -1,  # attenuation, tuning, sample mode, scale tuning, root
}  # fmt: skip
INSTRUMENT, KEY_RANGE, VELOCITY_RANGE, SAMPLE = 41, 43, 44, 53
NOT_ADDITIVE = {0, 1, 2, 3, 4, 12, 45, 50, 54, 58, KEY_RANGE, VELOCITY_RANGE, SAMPLE, INSTRUMENT}
WHOLE_RANGE = (0, 127)

HEADER = {
    "phdr": np.dtype([("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "S12")]),
    "inst": np.dtype([("name", "S20"), ("bag", "<u2")]),
    "pbag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "ibag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "pgen": np.dtype([("kind", "<u2"), ("amount", "<i2")]),
    "igen": np.dtype([("kind", "<u2"), ("amount", "<i2")]),
    "shdr": np.dtype(
        {
            "names": ["name", "start", "end", "loop_start", "loop_end", "rate", "pitch", "correction", "link", "type"],
            "formats": ["S20", "<u4", "<u4", "<u4", "<u4", "<u4", "u1", "i1", "<u2", "<u2"],
        }
    ),
}

Generators = dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Region:
    """One sample with the keys and velocities it is for. Times in seconds, levels in decibels below full."""

    keys: tuple[int, int]
    velocities: tuple[int, int]
    start: int
    end: int
    loop: tuple[int, int] | None
    rate: float
    root_key: int
    tune_cents: float
    cents_per_key: float
    attenuation_db: float
    pan: float
    """-1 left to 1 right."""
    cutoff_hz: float | None
    attack: float
    hold: float
    decay: float
    sustain_db: float
    release: float
    key_to_hold: int
    key_to_decay: int

    def step(self, key: int, rate: int) -> float:
        """Samples of the recording for each sample of output at ``rate``."""
        cents = (key - self.root_key) * self.cents_per_key + self.tune_cents
        return self.rate / rate * 2.0 ** (cents / CENTS)


class SoundFont:
    """A SoundFont 2 file.

    Raises:
        AurlError: the file is missing or not a SoundFont 2 file.
    """

    def __init__(self, path: Path) -> None:
        try:
            chunks = read_chunks(Path(path).read_bytes())
            self.samples = np.frombuffer(chunks["smpl"], dtype="<i2").astype(np.float32) / FULL_SCALE
            tables = {name: np.frombuffer(chunks[name], dtype=HEADER[name]) for name in HEADER}
        except (OSError, KeyError, ValueError, struct.error) as error:
            raise AurlError(f"{path} is not a readable SoundFont 2 file ({error}); reinstall pretty_midi") from error
        self.tables = tables
        self.presets = {(int(row["bank"]), int(row["program"])): index for index, row in enumerate(tables["phdr"][:-1])}

    @lru_cache(maxsize=256)  # noqa: B019 (one font lives as long as the process)
    def regions(self, program: int, drums: bool) -> tuple[Region, ...]:
        """All regions of a program; drum kits and programs that the font lacks fall back to the first of their kind."""
        bank = DRUM_BANK if drums else 0
        preset = self.presets.get((bank, program), self.presets.get((bank, 0)))
        if preset is None:
            return ()
        found: list[Region] = []
        for upper in zones(self.tables["phdr"], self.tables["pbag"], self.tables["pgen"], preset, INSTRUMENT):
            instrument = upper[INSTRUMENT]
            for lower in zones(self.tables["inst"], self.tables["ibag"], self.tables["igen"], instrument, SAMPLE):
                region = make_region(upper, lower, self.tables["shdr"][lower[SAMPLE]])
                if region.keys[0] <= region.keys[1] and region.velocities[0] <= region.velocities[1]:
                    found.append(region)
        return tuple(found)

    def matching(self, program: int, drums: bool, key: int, velocity: int) -> list[Region]:
        """The regions that sound for one note (two for a stereo recording, none for an unused drum key)."""
        return [
            region
            for region in self.regions(program, drums)
            if region.keys[0] <= key <= region.keys[1] and region.velocities[0] <= velocity <= region.velocities[1]
        ]

    def tone(self, region: Region, key: int, length: int, rate: int) -> NDArray[np.float32]:
        """The recording of ``region`` at the pitch of ``key``, looped as needed, without envelope: (<= length,)."""
        position = region.start + np.arange(length) * region.step(key, rate)
        if region.loop is not None:
            start, end = region.loop
            position = np.where(position < end, position, start + (position - start) % (end - start))
        else:
            position = position[position < region.end - 1]
        return hermite(self.samples, position, region.loop)


def hermite(samples: NDArray[np.float32], position: NDArray[Any], loop: tuple[int, int] | None) -> NDArray[np.float32]:
    """Samples between samples by Catmull-Rom interpolation; neighbours beyond a loop's end wrap to its start."""
    index = position.astype(np.int64)
    t = (position - index).astype(np.float32)
    neighbours = []
    for offset in (-1, 0, 1, 2):
        at = np.maximum(index + offset, 0)
        if loop is not None and offset > 0:
            at = np.where(at >= loop[1], at - (loop[1] - loop[0]), at)
        neighbours.append(samples[np.minimum(at, len(samples) - 1)])
    before, here, after, later = neighbours
    slope = 0.5 * (after - before)
    bend = here - after + 0.5 * (later - here) + slope
    return here + t * (slope + t * (after - here - slope - bend + t * bend))


def read_chunks(data: bytes) -> dict[str, bytes]:
    """Chunk name to content of a RIFF file, the chunks inside LIST chunks included."""
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise ValueError("no RIFF sfbk header")
    found: dict[str, bytes] = {}
    pending = [(12, len(data))]
    while pending:
        at, end = pending.pop()
        while at + 8 <= end:
            name, size = struct.unpack_from("<4sI", data, at)
            if name == b"LIST":
                pending.append((at + 12, at + 8 + size))
            else:
                found[name.decode("latin-1")] = data[at + 8 : at + 8 + size]
            at += 8 + size + size % 2
    return found


def zones(
    headers: NDArray[Any], bags: NDArray[Any], generators: NDArray[Any], index: int, needs: int
) -> list[Generators]:
    """Generators of each zone, over those of its preset's or instrument's global zone (which lacks ``needs``)."""
    common: Generators = {}
    found: list[Generators] = []
    for bag in range(int(headers[index]["bag"]), int(headers[index + 1]["bag"])):
        rows = generators[int(bags[bag]["generator"]) : int(bags[bag + 1]["generator"])]
        zone = {int(row["kind"]): int(row["amount"]) for row in rows}
        if needs in zone:
            found.append(common | zone)
        elif not found:
            common = zone
    return found


def value_range(zone: Generators, kind: int) -> tuple[int, int]:
    """A key or velocity range: low byte to high byte."""
    if kind not in zone:
        return WHOLE_RANGE
    return zone[kind] & 0xFF, (zone[kind] >> 8) & 0xFF


def make_region(upper: Generators, lower: Generators, sample: Any) -> Region:
    """Combine a preset zone with an instrument zone: ranges intersect, additive generators add (section 9.4)."""
    g = {kind: lower.get(kind, default) for kind, default in DEFAULTS.items()}
    for kind in g:
        if kind not in NOT_ADDITIVE:
            g[kind] += upper.get(kind, 0)
    ranges = [(value_range(upper, kind), value_range(lower, kind)) for kind in (KEY_RANGE, VELOCITY_RANGE)]
    keys, velocities = ((max(a[0], b[0]), min(a[1], b[1])) for a, b in ranges)
    loop = (int(sample["loop_start"]) + g[2] + COARSE * g[45], int(sample["loop_end"]) + g[3] + COARSE * g[50])
    pitch = int(sample["pitch"])
    return Region(
        keys=keys,
        velocities=velocities,
        start=int(sample["start"]) + g[0] + COARSE * g[4],
        end=int(sample["end"]) + g[1] + COARSE * g[12],
        loop=loop if g[54] in LOOPED and loop[1] > loop[0] else None,
        rate=float(sample["rate"]),
        root_key=g[58] if g[58] >= 0 else pitch if pitch <= WHOLE_RANGE[1] else DEFAULT_ROOT_KEY,
        tune_cents=100.0 * g[51] + g[52] + float(sample["correction"]),
        cents_per_key=float(g[56]),
        attenuation_db=ATTENUATION_SHARE * max(g[48], 0) / 10.0,
        pan=float(np.clip(g[17] / 500.0, -1.0, 1.0)),
        cutoff_hz=ABSOLUTE_CENTS_HZ * 2.0 ** (g[8] / CENTS) if g[8] < HIGHEST_CUTOFF_CENTS else None,
        attack=timecents(g[34]),
        hold=timecents(g[35]),
        decay=timecents(g[36]),
        sustain_db=max(g[37], 0) / 10.0,
        release=timecents(g[38]),
        key_to_hold=g[39],
        key_to_decay=g[40],
    )


def timecents(value: int) -> float:
    """Timecents to seconds."""
    return 2.0 ** (value / CENTS)


@lru_cache(maxsize=1)
def general_midi() -> SoundFont:
    """The General MIDI SoundFont (TimGM6mb) that the pretty_midi package carries; read in place, once per process.

    Raises:
        AurlError: pretty_midi is not installed or lacks the file.
    """
    spec = importlib.util.find_spec("pretty_midi")  # located, not imported
    if spec is None or spec.origin is None:
        raise AurlError("no soundfont: the package pretty_midi is not installed; pip install pretty_midi")
    return SoundFont(Path(spec.origin).parent / "TimGM6mb.sf2")
