"""Does the model know that music rests on triads, in Bach's phrases and in its own?

  python -m experiments.chorale_statistics.rests --data-path FOLDER --ckpt CHECKPOINT

At every chord of rest whose bass is struck with it, the three upper voices are known when the model chooses the bass.
What share of its probability goes to pitches that make a root-position triad, after held-out music and after its own?
Durations are read as in metres over quarters, which nearly all chorales have.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from aurl.cli.build import build_data
from aurl.cli.conf import compose
from aurl.evaluation.chorale import REST_QUARTERS, is_root_triad
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator
from aurl.models.hearing import TokenMeaning
from aurl.models.positions import MusicalTime

VOICES = 4
BASS = 3
DURATION_AFTER = 2
"""Tokens from a note's pitch to its duration."""


def main() -> None:
    """One line for held-out music, one for samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", required=True, help="the unpacked chorale corpus")
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--sampler", type=json.loads, default={"top_p": 0.98, "pitch_temperature": 0.4})
    args = parser.parse_args()
    generator = Generator.from_checkpoint(args.ckpt, "cpu")
    sampler = SamplerConfig(**args.sampler)
    temperature = sampler.pitch_temperature or sampler.temperature
    data = build_data(compose("train", ["experiment=reference_jsb", f"data.path='{args.data_path}'", "paths.output=."]))
    data.setup()
    held_out = [np.asarray(data.store.ids(i)) for split in ("valid", "test") for i in data.store.split(split)]
    request = GenerationRequest(sampler=sampler, num_samples=args.samples, batch_size=args.samples, bars=16)
    bos = [generator.codec.vocabulary.bos]
    written = [np.concatenate([bos, np.asarray(sample.ids)]) for sample in generator.generate(request)]
    print("| music | rests | triads | upper voices allow one | probability of one | where they allow it |")
    print("|---|---|---|---|---|---|")
    for name, pieces in (("held-out", held_out), ("samples", written)):
        rests = np.concatenate([look_at(generator, ids, temperature) for ids in pieces])
        triad, allowed, share = rests.T
        print(
            f"| {name} | {len(rests)} | {triad.mean():.3f} | {allowed.mean():.3f} | {share.mean():.3f} | "
            f"{share[allowed > 0].mean():.3f} |",
            flush=True,
        )


def look_at(generator: Generator, ids: np.ndarray, temperature: float) -> np.ndarray:
    """For each rest of a piece: is it a triad, do the upper voices allow one, the share of it ``(rests, 3)``."""
    ids = ids[: generator.model.config.context]
    vocabulary = generator.codec.vocabulary
    meaning = TokenMeaning.of(vocabulary.meaning())
    bar, beat = vocabulary.musical_time(ids)
    time = MusicalTime(torch.arange(len(ids)), torch.from_numpy(beat).float(), torch.from_numpy(bar).long())
    with torch.inference_mode():
        logits = generator.model(torch.from_numpy(ids.astype(np.int64)), time, [len(ids)]).logits.float()
    pitch = np.asarray(meaning.pitch)
    durations = np.asarray(meaning.duration) * float(meaning.first_metre)
    at = np.flatnonzero(pitch[ids] >= 0)
    at = at[at + DURATION_AFTER < len(ids)]
    voice = np.unique(ids[at - 1], return_inverse=True)[1]  # Program tokens of the four copies of one program
    start, end = beat[at], beat[at] + durations[ids[at + DURATION_AFTER]]
    tokens = np.flatnonzero(pitch >= 0)
    found = []
    for moment in np.unique(start):
        sounding = np.flatnonzero((start <= moment) & (moment < end))
        here = dict(zip(voice[sounding].tolist(), sounding.tolist(), strict=True))
        if sorted(here) != list(range(VOICES)) or start[here[BASS]] < moment:
            continue
        later = start[start > moment]
        if min(end[sounding].min(), later.min(initial=np.inf)) - moment < REST_QUARTERS:
            continue
        chord = pitch[ids[at[[here[number] for number in range(VOICES)]]]]
        makes = np.array(
            [value <= chord[:BASS].min() and is_root_triad(np.array([*chord[:BASS], value])) for value in pitch[tokens]]
        )
        weights = torch.softmax(logits[at[here[BASS]] - 1][torch.from_numpy(tokens)] / temperature, 0).numpy()
        found.append((is_root_triad(chord), makes.any(), weights[makes].sum()))
    return np.array(found, dtype=float).reshape(-1, 3)


if __name__ == "__main__":
    main()
