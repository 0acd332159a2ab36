"""``aurl-data tokenizer``: learn tokens (byte pair encoding) from the training pieces of a corpus, into a file.

Training learns them by itself with ``tokenizer.bpe=2000``; a file lets several corpora or runs share one vocabulary:
``aurl-train ... tokenizer.bpe=FILE``. Hydra and the readers are imported when the work begins.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aurl.cli.corpus_settings import composed
from aurl.utils.errors import AurlError
from aurl.utils.files import check_file

HELP = "learn tokens for frequent groups of tokens (byte pair encoding) from the training pieces of a corpus"
EPILOG = """example:
  aurl-data tokenizer data=nottingham data.path=FOLDER tokenizer=remi --vocab-size 2000 --output tokens.json
  aurl-train data=nottingham data.path=FOLDER tokenizer=remi tokenizer.bpe=tokens.json

settings are those of aurl-train: data=..., data.KEY=..., tokenizer=..., tokenizer.KEY=..., preprocess=...,
paths.cache=...
"""
DEFAULT_SIZE = 2000


def add_verb(verbs: Any) -> None:
    """Add ``tokenizer`` to the verbs of ``aurl-data``."""
    parser = verbs.add_parser(
        "tokenizer", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="corpus and tokenizer, as for aurl-train")
    parser.add_argument(
        "--vocab-size", type=int, default=DEFAULT_SIZE, metavar="N", help=f"tokens in all ({DEFAULT_SIZE})"
    )
    parser.add_argument("--output", type=Path, default=Path("tokenizer.json"), metavar="FILE", help="tokenizer.json")
    parser.set_defaults(task=learn_tokens)


def learn_tokens(options: argparse.Namespace) -> int:
    """Prepare the corpus, learn, write the file and say what it saves.

    Returns:
        The exit code, 0.

    Raises:
        AurlError: a setting cannot be read, there is no music, or the size leaves nothing to learn.
    """
    check_file(options.output, "--output ")
    data, tokenizer, cache, preprocess = composed(options.settings)
    if tokenizer.bpe is not None:
        raise AurlError(
            f"tokenizer.bpe={tokenizer.bpe} has no meaning here; --vocab-size says how many tokens to learn"
        )
    import numpy as np

    from aurl.data.codec import Codec
    from aurl.data.merges import check_size
    from aurl.data.merging import learned
    from aurl.data.prepare import prepare
    from aurl.utils.files import atomic_write_json
    from aurl.utils.logging import setup_logging

    check_size(options.vocab_size, Codec.from_config(tokenizer).vocabulary, "--vocab-size ")
    setup_logging(None)
    store = prepare(data, tokenizer, cache, preprocess=preprocess)
    codec = learned(store, Codec.from_dict(store.tokenizer), str(options.vocab_size), cache)
    atomic_write_json(options.output, codec.to_dict())
    held_out = store.split("valid") or store.split("train")
    notes = max(sum(store.pieces[piece].notes for piece in held_out), 1)
    base = sum(len(store.ids(piece)) for piece in held_out)
    merged = sum(len(codec.merge(np.asarray(store.ids(piece)))) for piece in held_out)
    print(f"Learned: {codec.size - codec.vocabulary.size} tokens beside {codec.vocabulary.size}")
    split = "valid" if store.split("valid") else "train"
    print(f"Tokens a note, {split} split: {base / notes:.2f} -> {merged / notes:.2f}")
    print(f"Written: {options.output}")
    print(f"Next:    aurl-train {' '.join(options.settings)} tokenizer.bpe={options.output}")
    return 0
