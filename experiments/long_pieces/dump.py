"""The tokens of a prepared corpus as one file, for quality.py on a machine that has nothing but PyTorch.

python -m experiments.long_pieces.dump --data-path FOLDER --output tokens.npz [--data multitrack]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from aurl.cli.build import build_data
from aurl.cli.conf import compose

SPLITS = ("train", "valid", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="multitrack")
    parser.add_argument("--data-path", required=True)
    parser.add_argument("--file-pattern", default=None)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    overrides = [f"data={args.data}", f"data.path='{args.data_path}'"]
    if args.file_pattern:
        overrides.append(f"data.file_pattern={args.file_pattern}")
    data = build_data(compose("train", [*overrides, "paths.output=."]))
    data.prepare_data()
    data.setup()
    store = data.store
    split = {piece: number for number, name in enumerate(SPLITS) for piece in store.split(name)}
    pieces = sorted(split)
    columns = (store.ids, store.bars, store.beats)
    ids, bars, beats = (np.concatenate([column(piece) for piece in pieces]) for column in columns)
    np.savez_compressed(
        args.output,
        ids=ids.astype(np.uint16),
        bars=bars.astype(np.uint16),
        beats=beats.astype(np.float32),
        lengths=np.array([store.pieces[piece].tokens for piece in pieces]),
        notes=np.array([store.pieces[piece].notes for piece in pieces]),
        split=np.array([split[piece] for piece in pieces]),
        vocabulary=np.array(data.codec.vocabulary.size),
        pitch_low=np.array(data.codec.vocabulary.index["Pitch_60"] - 60),
    )


if __name__ == "__main__":
    main()
