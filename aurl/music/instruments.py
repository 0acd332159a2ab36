"""Names of General MIDI programs and drum keys, and of tracks: data only."""

from __future__ import annotations

from collections import Counter
from typing import Any

PROGRAMS: tuple[str, ...] = (
    "Acoustic Grand Piano", "Bright Acoustic Piano", "Electric Grand Piano", "Honky-tonk Piano", "Electric Piano 1",
    "Electric Piano 2", "Harpsichord", "Clavinet", "Celesta", "Glockenspiel", "Music Box", "Vibraphone", "Marimba",
    "Xylophone", "Tubular Bells", "Dulcimer", "Drawbar Organ", "Percussive Organ", "Rock Organ", "Church Organ",
    "Reed Organ", "Accordion", "Harmonica", "Tango Accordion", "Nylon Guitar", "Steel Guitar", "Jazz Guitar",
    "Clean Electric Guitar", "Muted Electric Guitar", "Overdriven Guitar", "Distortion Guitar", "Guitar Harmonics",
    "Acoustic Bass", "Fingered Bass", "Picked Bass", "Fretless Bass", "Slap Bass 1", "Slap Bass 2", "Synth Bass 1",
    "Synth Bass 2", "Violin", "Viola", "Cello", "Contrabass", "Tremolo Strings", "Pizzicato Strings",
    "Orchestral Harp", "Timpani", "String Ensemble 1", "String Ensemble 2", "Synth Strings 1", "Synth Strings 2",
    "Choir Aahs", "Voice Oohs", "Synth Voice", "Orchestra Hit", "Trumpet", "Trombone", "Tuba", "Muted Trumpet",
    "French Horn", "Brass Section", "Synth Brass 1", "Synth Brass 2", "Soprano Sax", "Alto Sax", "Tenor Sax",
    "Baritone Sax", "Oboe", "English Horn", "Bassoon", "Clarinet", "Piccolo", "Flute", "Recorder", "Pan Flute",
    "Blown Bottle", "Shakuhachi", "Whistle", "Ocarina", "Square Lead", "Sawtooth Lead", "Calliope Lead",
    "Chiff Lead", "Charang Lead", "Voice Lead", "Fifths Lead", "Bass and Lead", "New Age Pad", "Warm Pad",
    "Polysynth Pad", "Choir Pad", "Bowed Pad", "Metallic Pad", "Halo Pad", "Sweep Pad", "Rain", "Soundtrack",
    "Crystal", "Atmosphere", "Brightness", "Goblins", "Echoes", "Sci-fi", "Sitar", "Banjo", "Shamisen", "Koto",
    "Kalimba", "Bagpipe", "Fiddle", "Shanai", "Tinkle Bell", "Agogo", "Steel Drums", "Woodblock", "Taiko Drum",
    "Melodic Tom", "Synth Drum", "Reverse Cymbal", "Guitar Fret Noise", "Breath Noise", "Seashore", "Bird Tweet",
    "Telephone Ring", "Helicopter", "Applause", "Gunshot",
)  # fmt: skip
"""Name of each General MIDI program, 0 to 127."""

FIRST_DRUM_KEY = 35
DRUM_NAMES = (
    "Kick 2", "Kick", "Side stick", "Snare", "Clap", "Snare 2", "Low floor tom", "Closed hat", "High floor tom",
    "Pedal hat", "Low tom", "Open hat", "Low-mid tom", "Hi-mid tom", "Crash", "High tom", "Ride", "China",
    "Ride bell", "Tambourine", "Splash", "Cowbell", "Crash 2", "Vibraslap", "Ride 2", "Hi bongo", "Low bongo",
    "Mute conga", "Open conga", "Low conga", "Hi timbale", "Low timbale", "Hi agogo", "Low agogo", "Cabasa",
    "Maracas", "Short whistle", "Long whistle", "Short guiro", "Long guiro", "Claves", "Hi woodblock",
    "Low woodblock", "Mute cuica", "Open cuica", "Mute triangle", "Open triangle",
)  # fmt: skip
DRUM_KEYS: dict[int, str] = dict(enumerate(DRUM_NAMES, start=FIRST_DRUM_KEY))
"""Name of each key of the General MIDI drum kit, 35 to 81."""

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def pitch_name(pitch: int) -> str:
    """Scientific name of a MIDI pitch.

    Example:
        >>> pitch_name(60), pitch_name(46)
        ('C4', 'A#2')
    """
    return f"{PITCH_CLASSES[pitch % 12]}{pitch // 12 - 1}"


def track_labels(tracks: list[Any]) -> list[str]:
    """A name for each symusic track: its own, or its instrument's; repeated names are numbered."""
    plain = [
        track.name.strip() or ("Drums" if track.is_drum else PROGRAMS[min(max(int(track.program), 0), 127)])
        for track in tracks
    ]
    repeated = {name for name, count in Counter(plain).items() if count > 1}
    seen: Counter[str] = Counter()
    labels = []
    for name in plain:
        seen[name] += 1
        labels.append(f"{name} {seen[name]}" if name in repeated else name)
    return labels
