"""``aurl-evaluate``: nats per note and per beat of any music under a checkpoint, as a table and as JSON.

With music=FOLDER it measures the music itself (evaluate_music.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.cli import app
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.data.codec import Codec
    from aurl.data.config import DataConfig, TokenizerConfig
    from aurl.data.preprocessing import PreprocessConfig
    from aurl.data.store import TokenStore
    from aurl.models.checkpoint import Bundle

GROUPS = ("data", "preprocess")
WHOLE = "all"
HELP = """
aurl-evaluate: how well does a model predict music it has not seen?

Usage: aurl-evaluate [key=value ...]

Examples:
  aurl-evaluate                                                 newest run, test split of its own corpus
  aurl-evaluate ckpt=best split=valid
  aurl-evaluate ckpt=last data=folder data.path=some/folder     every piece of a folder (or one file)
  aurl-evaluate ckpt=last data=jsb data.path=~/jsb-chorales json=jsb.json
  aurl-evaluate music=generated reference=some/folder json=music.json    musical metrics, no model

Main keys (default):
  ckpt (last)        last, best, a run's folder or a file
  preprocess (none)  what is done to that music first; without it, what was done to the music of the checkpoint
  data (none)        music to measure; without it, the corpus that the checkpoint was trained on
  split (test)       train, valid, test or all; for data=folder all is the default
  json (none)        file for the figures: nats_per_note, nats_per_beat, notes, beats, tokens, pieces,
                     token_perplexity, skipped, and chord_tokens where the tokenizer writes chords
  music (none)       folder or file whose musical metrics are measured and which is validated; needs no model
  reference (none)   folder or file that the music is compared with
  metrics (none)     names or groups, metrics=[pitch,bar_order]; none means all
  device (auto)      auto, cpu, cuda or mps

nats_per_note is the negative log-likelihood of all tokens (end of piece included) divided by the number of notes;
lower is better. Pieces longer than the model's context are read in overlapping windows, so that each token sees
at least half a context of its past, as far as there is one.
"""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured, on what."""

    checkpoint: Path
    corpus: str
    split: str
    figures: Mapping[str, Any]


def main() -> None:
    """Entry point of ``aurl-evaluate``."""
    app.main("evaluate", evaluate, HELP, GROUPS)


def evaluate(cfg: DictConfig) -> None:
    """Measure, print the table, write the JSON file."""
    from aurl.cli.evaluate_music import check_keys, evaluate_music
    from aurl.utils.files import atomic_write_json
    from aurl.utils.logging import setup_logging

    setup_logging(None)
    check_keys(cfg)
    if cfg.music is not None:
        evaluate_music(cfg)
        return
    evaluation = measure(cfg)
    if cfg.json:
        atomic_write_json(Path(cfg.json), dict(evaluation.figures))
    print_table(evaluation)
    if cfg.json:
        print(f"written: {cfg.json}")


def measure(cfg: DictConfig) -> Evaluation:
    """The figures for the music that the config names.

    Raises:
        AurlError: no such checkpoint, no music, or nothing in the split.
    """
    from aurl.cli.build import cache_limit
    from aurl.cli.checkpoints import resolve
    from aurl.cli.generate import pick_device
    from aurl.data.codec import Codec
    from aurl.data.merging import MergedStore
    from aurl.data.prepare import prepare
    from aurl.evaluation.likelihood import score_corpus
    from aurl.models.checkpoint import load_bundle

    device = pick_device(cfg.device)
    bundle = load_bundle(resolve(cfg.ckpt, Path(cfg.paths.runs)), device)
    data, tokenizer, preprocess = corpus_of(bundle, cfg.data, cfg.preprocess)
    split = cfg.split or (WHOLE if cfg.data is not None and data.source.value == "folder" else "test")
    store = prepare(
        data,
        tokenizer.without_merges(),
        Path(cfg.paths.cache),
        preprocess=preprocess,
        cache_limit=cache_limit(cfg),
    )
    codec = Codec.from_dict(bundle.tokenizer)
    if store.tokenizer != codec.base_dict():
        raise AurlError(f"ckpt={bundle.path} was trained with another version of the tokenizer; train it again")
    numbers = list(range(len(store.pieces))) if split == WHOLE else store.split(split)
    scored: Any = store if codec.merges is None else MergedStore(store, codec.merges, numbers)
    with scoring_progress() as on_progress:
        result = score_corpus(
            bundle.model,
            scored,
            bundle.model.config.context,
            split=None if split == WHOLE else split,
            device=device,
            on_progress=on_progress,
        )
    figures = {**result.to_dict(), **count_chords(codec, store, numbers), "skipped": count_skipped(store)}
    return Evaluation(checkpoint=bundle.path, corpus=data.name, split=split, figures=figures)


def corpus_of(
    bundle: Bundle, asked: DictConfig | None, preprocess: DictConfig | None = None
) -> tuple[DataConfig, TokenizerConfig, PreprocessConfig]:
    """The corpus to measure (that of the checkpoint unless another is asked for), and how it becomes tokens.

    The tokenizer is the checkpoint's; so is the preprocessing unless another is asked for.

    Raises:
        AurlError: the checkpoint does not say what it was trained on.
    """
    from aurl.cli.conf import from_values, to_config
    from aurl.data.config import DataConfig, TokenizerConfig
    from aurl.data.preprocessing import PreprocessConfig

    config = bundle.config
    if "tokenizer" not in config or ("data" not in config and asked is None):
        raise AurlError(
            f"ckpt={bundle.path} does not hold the settings of its run; choose a checkpoint made by aurl-train"
        )
    data = to_config(asked) if asked is not None else from_values(DataConfig, config["data"])
    done = (
        to_config(preprocess) if preprocess is not None else from_values(PreprocessConfig, config.get("preprocess", {}))
    )
    return data, from_values(TokenizerConfig, config["tokenizer"]), done


def count_chords(codec: Codec, store: TokenStore, numbers: Sequence[int]) -> dict[str, int]:
    """Chord tokens of the measured pieces, whose nats count as well; nothing where the tokenizer has none."""
    from aurl.data.kinds import Kind

    is_chord = codec.vocabulary.kind == Kind.CHORD
    return {"chord_tokens": sum(int(is_chord[store.ids(n)].sum()) for n in numbers)} if is_chord.any() else {}


def count_skipped(store: TokenStore) -> int:
    """Files of the corpus that could not be read."""
    return len(store.skipped)


def scoring_progress() -> Any:
    """A context with a progress bar on standard error; gives the callback of ``score_corpus``."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import Progress

    @contextmanager
    def bar() -> Any:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("measuring", total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    return bar()


def print_table(evaluation: Evaluation) -> None:
    """The figures as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    print(f"{evaluation.corpus}, {evaluation.split}, under {app.shown(evaluation.checkpoint)}")
    table = Table()
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in evaluation.figures.items():
        table.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)


if __name__ == "__main__":
    main()
