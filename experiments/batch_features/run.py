"""What do arrays beside the tokens cost a training loader?

    python experiments/batch_features/run.py --data FOLDER [--pieces 100] [--batches 30]

FOLDER holds unpacked corpora. Milliseconds a batch of 8,192 tokens without and with arrays, in turn on the same
windows, with transposition and with everything on. The peer computes the same rows from the scores while it draws.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from aurl.data.aligned import RowTimes, compute, provider
from aurl.data.augmentation.config import (
    AugmentConfig,
    HumanizeConfig,
    StretchConfig,
    SwingConfig,
    TransposeConfig,
)
from aurl.data.batching import TrainingPlan
from aurl.data.codec import Codec
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.prepare import prepare
from aurl.data.store import TokenStore
from aurl.data.windows import Window
from aurl.music.score import read_score

CONTEXT, BATCH_TOKENS = 1024, 8192
SETS = {
    "chords": ["chords"],
    "chords, key, chroma, polyphony": ["chords", "key", "beat_chroma", "bar_polyphony"],
    "three rolls of 128": ["beat_piano_roll", "beat_onset_roll", "beat_velocity_roll"],
}
ALL = AugmentConfig(
    transpose=TransposeConfig(semitones=[-5, 6]),
    stretch=StretchConfig(probability=0.5),
    swing=SwingConfig(probability=0.5),
    humanize=HumanizeConfig(probability=0.5),
)


def spent(work: Callable[[Sequence[Window]], object], windows: Sequence[Window]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    work(windows)
    return 1000 * (time.perf_counter() - begin)


def from_scores(store: TokenStore, names: Sequence[str], windows: Sequence[Window]) -> None:
    """The peer: rows of the pieces of a batch from their notes."""
    codec = Codec.from_dict(store.tokenizer)
    for window in windows:
        record = store.pieces[window.piece]
        fitted, _ = codec.prepare_score(read_score(Path(record.path)))
        grid = RowTimes.of(store.beats(window.piece), store.bars(window.piece).astype(np.int32), record.beats)
        for name in names:
            compute(provider(name), fitted, grid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=100)
    parser.add_argument("--batches", type=int, default=30)
    options = parser.parse_args()
    heads = ("corpus", "augmentation", "arrays", "ms without", "ms with", "added", "times", "ms from scores (peer)")
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for corpus in ("jsb-chorales", "pop909"):
        with TemporaryDirectory() as scratch:
            music = Path(scratch) / "music"
            music.mkdir()
            paths = sorted((options.data / corpus).rglob("*.mid"))
            paths = [path for path in paths if "versions" not in path.parts and path.name != "cl.mid"]
            for number, path in enumerate(paths[: options.pieces]):
                (music / f"{number}.mid").symlink_to(path)
            names = sorted({name for each in SETS.values() for name in each})
            data = DataConfig(name=corpus, source=Source.folder, path=str(music), features=names, workers=1)
            store = prepare(data, TokenizerConfig(), Path(scratch) / "cache", progress=False)
            vocabulary = Codec.from_dict(store.tokenizer).vocabulary
            for title, augment in (("transposition", AugmentConfig()), ("all in time", ALL)):
                for arrays, wanted in SETS.items():
                    plans = [
                        TrainingPlan(
                            store, range(len(store)), vocabulary, CONTEXT, BATCH_TOKENS, augment, 0, 0.0, chosen
                        )
                        for chosen in ((), wanted)
                    ]
                    batches = [list(plans[0].epoch(0)[n % plans[0].batches]) for n in range(options.batches)]
                    times = np.array([[spent(lambda w, p=plan: p.collate(w, 0), b) for plan in plans] for b in batches])
                    without, with_arrays = np.median(times, axis=0)
                    peer = median(
                        spent(lambda w, s=store, n=wanted: from_scores(s, n, w), batch) for batch in batches[:2]
                    )
                    cells = (corpus, title, arrays, f"{without:.2f}", f"{with_arrays:.2f}")
                    cells += (f"{with_arrays - without:.2f}", f"{with_arrays / without:.2f}", f"{peer:.0f}")
                    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
