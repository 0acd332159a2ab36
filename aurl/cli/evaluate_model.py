"""What ``aurl-evaluate`` measures of a checkpoint: likelihood, samples beside real music, speed and memory.

A :class:`Session` opens the checkpoint and its corpus once; each function gives one part of the JSON file and of the
report.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.evaluation.report_model import IMPORTANCE
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.data.config import DataConfig
    from aurl.data.store import TokenStore
    from aurl.evaluation.folder import FolderReport
    from aurl.evaluation.likelihood import LikelihoodResult, TokenPiece
    from aurl.evaluation.metrics.table import NoteTable
    from aurl.generation.generator import Generator, Sample
    from aurl.models.checkpoint import Bundle

WHOLE = "all"
MOST_REFERENCE = 500
"""Pieces of the split that samples are compared with; more are chosen evenly."""
PEER_NAMES = {"huggingface": "Hugging Face GPT-2"}


class Session:
    """A checkpoint and the music it is measured on.

    Args:
        cfg: a composed ``evaluate`` config.
        ckpt: another checkpoint than ``cfg.ckpt``.
        key: what the user has typed it for.

    Raises:
        AurlError: no such checkpoint or device.
    """

    def __init__(self, cfg: DictConfig, ckpt: str | None = None, key: str = "ckpt") -> None:
        from aurl.cli.checkpoints import resolve
        from aurl.cli.conf import to_config
        from aurl.cli.generate import pick_device
        from aurl.data.sources import check_path
        from aurl.models.checkpoint import load_bundle

        self.cfg = cfg
        if cfg.data is not None:
            check_path(to_config(cfg.data))
        self.device = pick_device(cfg.device)
        self.bundle: Bundle = load_bundle(resolve(ckpt or cfg.ckpt, Path(cfg.paths.runs), key=key), self.device)

    @cached_property
    def corpus(self) -> tuple[DataConfig, Any, Any]:
        """Data, tokenizer and preprocessing."""
        from aurl.cli.evaluate import corpus_of

        return corpus_of(self.bundle, self.cfg.data, self.cfg.preprocess)

    @cached_property
    def split(self) -> str:
        """The split that is measured."""
        data = self.corpus[0]
        whole = self.cfg.data is not None and data.source.value == "folder"
        return str(self.cfg.split or (WHOLE if whole else "test"))

    @cached_property
    def store(self) -> TokenStore:
        """The prepared corpus.

        Raises:
            AurlError: no music, or it was made with another tokenizer than the checkpoint's.
        """
        from aurl.cli.build import cache_limit
        from aurl.data.prepare import prepare

        data, tokenizer, preprocess = self.corpus
        cache = Path(self.cfg.paths.cache)
        store = prepare(
            data, tokenizer.without_merges(), cache, preprocess=preprocess, cache_limit=cache_limit(self.cfg)
        )
        if not self.generator.codec.reads(store.tokenizer):
            raise AurlError(
                f"ckpt={self.bundle.path} was trained with another version of the tokenizer; train it again"
            )
        return store

    @cached_property
    def pieces(self) -> list[int]:
        """Numbers of the pieces of the split in the store."""
        return self.store.split(None if self.split == WHOLE else self.split)

    @cached_property
    def generator(self) -> Generator:
        """The model as a writer of music."""
        from aurl.generation.generator import Generator

        return Generator.from_bundle(self.bundle, self.device)

    def score(self, on_progress: Callable[[int, int], None] | None = None) -> tuple[LikelihoodResult, list[TokenPiece]]:
        """The likelihood of the split's pieces, and the pieces.

        Raises:
            AurlError: nothing in the split, or weights that give no numbers.
        """
        from aurl.data.merging import MergedStore
        from aurl.evaluation.likelihood import score_corpus, store_pieces

        model, merges = self.bundle.model, self.generator.codec.merges
        store: Any = self.store if merges is None else MergedStore(self.store, merges, self.pieces)
        pieces = store_pieces(store, None if self.split == WHOLE else self.split)
        context = model.config.context
        return score_corpus(model, pieces, context, device=self.device, on_progress=on_progress), pieces


def measure_likelihood(session: Session, detailed: bool) -> dict[str, Any]:
    """Figures of the split, and where its nats lie.

    Args:
        session: what is measured.
        detailed: also predict tokens again with less context, which takes several more passes.

    Raises:
        AurlError: nothing in the split, or weights that give no numbers.
    """
    from aurl.cli.evaluate import count_chords, count_skipped, scoring_progress
    from aurl.cli.unmet import count_unmet
    from aurl.evaluation.likelihood_detail import describe

    with scoring_progress() as on_progress:
        result, pieces = session.score(on_progress)
    model, vocabulary = session.bundle.model, session.generator.codec.vocabulary
    detail = describe(model, result, pieces, vocabulary, model.config.context, session.device, with_contexts=detailed)
    figures = {**result.to_dict(), **count_chords(session.generator.codec, session.store, session.pieces)}
    if session.cfg.importance_samples:
        figures[IMPORTANCE] = measure_importance(session, pieces)
    figures |= count_unmet(session.bundle.progress, session.generator.codec.vocabulary, session.store, session.pieces)
    return {**figures, "skipped": count_skipped(session.store), **detail}


def check_latents(session: Session) -> None:
    """Refuse an importance-weighted estimate of a model without latents.

    Raises:
        AurlError: names the key and the checkpoint.
    """
    asked = session.cfg.importance_samples
    if asked and session.bundle.model.latent is None:
        raise AurlError(
            f"importance_samples={asked}: ckpt={session.bundle.path} has no latents, its nats_per_note is the "
            "likelihood itself and no bound; leave importance_samples out"
        )


def measure_importance(session: Session, pieces: Sequence[TokenPiece]) -> dict[str, Any]:
    """The importance-weighted estimate of the pieces that the bound was measured on."""
    from aurl.cli.evaluate import scoring_progress
    from aurl.evaluation.importance_scoring import score_importance

    model, cfg = session.bundle.model, session.cfg
    with scoring_progress() as on_progress:
        return score_importance(
            model,
            pieces,
            model.config.context,
            cfg.importance_samples,
            device=session.device,
            seed=cfg.seed,
            on_progress=on_progress,
        ).to_dict()


@dataclass(frozen=True)
class Drawn:
    """Samples and what was measured in them."""

    samples: Mapping[str, Sample]
    """Name -> sample."""
    report: FolderReport
    reference: str
    """What they are compared with, in words."""


def check_samples(cfg: DictConfig) -> None:
    """Refuse before the work what would fail after it.

    Raises:
        AurlError: an unknown metric or judge, or no music where a folder is named.
    """
    from aurl.evaluation.comparison import check_judges
    from aurl.evaluation.folder import list_music
    from aurl.evaluation.metrics.registry import choose_metrics

    check_judges(list(cfg.judges) if cfg.judges is not None else [])
    if cfg.training:
        list_music(Path(cfg.training), "training")
    choose_metrics(list(cfg.metrics) if cfg.metrics is not None else None)
    if cfg.reference:
        list_music(Path(cfg.reference), "reference")


def measure_samples(session: Session) -> Drawn:
    """Draw ``samples`` pieces and measure them beside ``reference``, or else beside the split.

    Raises:
        AurlError: a piece without notes, or too little to compare with.
    """
    from aurl.cli.evaluate import scoring_progress
    from aurl.cli.generate import writing_progress
    from aurl.evaluation.comparison import compare_sets
    from aurl.evaluation.folder import list_music, measure_tables, read_tables
    from aurl.evaluation.metrics.table import read_table
    from aurl.evaluation.two_sample import JUDGES
    from aurl.generation.config import SamplerConfig
    from aurl.generation.generator import GenerationRequest

    cfg = session.cfg
    names = list(cfg.metrics) if cfg.metrics is not None else None
    judges = list(cfg.judges) if cfg.judges is not None else list(JUDGES)
    if cfg.reference:
        with scoring_progress() as on_progress:
            files = list_music(Path(cfg.reference), "reference")
            theirs, _ = read_tables(files, Path(cfg.reference), lambda done: on_progress(done, len(files)))
        words = f"{cfg.reference}, whole pieces"
    else:
        theirs = split_tables(session)
        words = f"{session.corpus[0].name}, {session.split}, " + (
            "whole pieces" if cfg.bars is None else f"the first {cfg.bars} bar{'s' * (cfg.bars > 1)}"
        )
    if len(theirs) < 2:
        raise AurlError(f"reference: {words} has {len(theirs)} readable pieces; allowed: 2 or more")
    request = GenerationRequest(
        sampler=SamplerConfig(temperature=cfg.temperature, top_p=cfg.top_p),
        num_samples=cfg.samples,
        batch_size=cfg.batch_size,
        bars=cfg.bars,
        seed=cfg.seed,
    )
    with writing_progress(cfg.samples) as on_written:
        drawn = session.generator.generate(request, on_written)
    samples = {f"sample_{sample.number + 1:04d}.mid": sample for sample in drawn}
    tables = {name: read_table(sample.score) for name, sample in samples.items()}
    report = measure_tables(tables, theirs, names)
    with scoring_progress() as on_progress:
        comparison = compare_sets(tables, theirs, training_tables(session), judges, cfg.seed, on_progress)
    return Drawn(samples, replace(report, comparison=comparison), words)


def training_tables(session: Session) -> dict[str, NoteTable]:
    """What samples may have been copied from: the folder that ``training`` names, or else what the model has learned.

    Raises:
        AurlError: no readable music in that folder.
    """
    from aurl.evaluation.folder import list_music, read_tables

    asked = session.cfg.training
    if not asked:
        return decoded_tables(session, session.store.split("train"), None)
    tables, skipped = read_tables(list_music(Path(asked), "training"), Path(asked), lambda done: None)
    if not tables:
        raise AurlError(f"training={asked}: no file can be read; the first: {next(iter(skipped.values()))}")
    return tables


def split_tables(session: Session) -> dict[str, NoteTable]:
    """The split's pieces, cut to ``bars`` bars: at most ``MOST_REFERENCE``, evenly chosen."""
    import math

    chosen = session.pieces[:: max(math.ceil(len(session.pieces) / MOST_REFERENCE), 1)]
    return decoded_tables(session, chosen, session.cfg.bars)


def decoded_tables(session: Session, pieces: Sequence[int], bars: int | None) -> dict[str, NoteTable]:
    """Pieces of the store as the model could write them (decoded from tokens), cut to ``bars`` bars."""
    import numpy as np

    from aurl.evaluation.metrics.table import read_table
    from aurl.generation.prompt import first_bars

    codec, store = session.generator.codec, session.store
    tables = {}
    for piece in pieces:
        ids = np.asarray(store.ids(piece)[1:-1], dtype=np.int64)  # without BOS and EOS
        ids = first_bars(ids, codec.vocabulary, bars)
        if codec.vocabulary.count_notes(ids):
            tables[store.pieces[piece].id] = read_table(codec.decode(ids))
    return tables


def draw_landscape(session: Session) -> None:
    """Measure how the loss rises around the weights, and write the picture and its numbers.

    Raises:
        AurlError: nothing in the split, or tokens learned over others.
    """
    from aurl.cli.app import shown
    from aurl.cli.evaluate import scoring_progress
    from aurl.evaluation.landscape import measure_landscape, write_landscape
    from aurl.evaluation.likelihood import store_pieces

    cfg = session.cfg
    if session.generator.codec.merges is not None:
        raise AurlError("landscape needs a model without tokenizer.bpe")
    pieces = store_pieces(session.store, None if session.split == WHOLE else session.split)
    if not pieces:
        raise AurlError(f"split={session.split} has no pieces; choose another")
    step = max(len(pieces) // cfg.landscape_pieces, 1)
    model = session.bundle.model
    with scoring_progress() as on_progress:
        found = measure_landscape(
            model,
            pieces[::step][: cfg.landscape_pieces],
            model.config.context,
            cfg.landscape_size,
            cfg.landscape_span,
            cfg.seed,
            session.device,
            on_progress,
        )
    title = f"{session.bundle.path.name}: {found.at_model:.3f} nats per note"
    for file in write_landscape(found, Path(cfg.landscape), title):
        print(f"written: {shown(file.absolute())}")


def measure_technical(session: Session) -> dict[str, Any]:
    """Speed for each batch size, size, a peer and the memory of the stages where they are asked for.

    Raises:
        AurlError: a peer that is not installed, or a stage that failed.
    """
    from aurl.cli.evaluate import scoring_progress
    from aurl.evaluation.peer import measure_peer
    from aurl.evaluation.performance import measure_speed, model_size, to_rows
    from aurl.generation.config import SamplerConfig

    cfg, generator = session.cfg, session.generator
    sampler = SamplerConfig(temperature=cfg.temperature, top_p=cfg.top_p)
    sizes, bars = list(cfg.batch_sizes), cfg.technical_bars
    found: dict[str, Any] = {
        "what": f"Pieces of {bars} bars, medians over {cfg.rounds}, decoding to scores included",
        "machine": machine(session.device),
        "bars": bars,
        "size": vars(model_size(generator, session.bundle.path)),
    }
    if cfg.stages is not None:  # first: nothing else of ours is then in memory or on the cores
        found["stages"] = measure_stages(session)
    with scoring_progress() as on_progress:
        rows = measure_speed(generator, sizes, bars, cfg.rounds, cfg.seed, sampler, on_progress)
    found["speed"] = to_rows(rows)
    if cfg.technical_peer is not None:
        shapes = [(row.batch_size, max(round(row.tokens / row.batch_size), 1)) for row in rows]
        model = session.bundle.model
        with scoring_progress() as on_progress:
            found["peer"] = measure_peer(
                model.config, model.vocab_size, shapes, cfg.top_p, cfg.rounds, session.device, on_progress
            )
        found["peer_name"] = PEER_NAMES[cfg.technical_peer]
    return found


def measure_stages(session: Session) -> list[dict[str, Any]]:
    """Peak memory of each stage that is asked for, in a fresh process."""
    from aurl.cli.checks import STAGES
    from aurl.evaluation.stages import measure_stage

    cfg = session.cfg
    if "training" in cfg.stages:
        _ = session.store  # training shall open the prepared corpus, not make it
    settings = {
        "checkpoint": str(session.bundle.path),
        "device": session.device,
        "cache": str(cfg.paths.cache),
        "batch_size": max(cfg.batch_sizes),
        "bars": cfg.technical_bars,
        "seed": cfg.seed,
    }
    return [measure_stage(stage, settings) for stage in STAGES if stage in cfg.stages]


def machine(device: str) -> str:
    """What the figures were measured on, in words."""
    import torch

    if device.startswith("cuda"):
        return f"Measured on {torch.cuda.get_device_name()}, PyTorch {torch.__version__}."
    threads = torch.get_num_threads()
    return (
        f"Measured on {platform.machine()} with {threads} thread{'s' if threads > 1 else ''}, "
        f"PyTorch {torch.__version__}."
    )
