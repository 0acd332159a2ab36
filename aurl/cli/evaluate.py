"""``aurl-evaluate``: likelihood, samples, speed of a checkpoint; metrics of files; tables, JSON and an HTML report.

What is measured of a checkpoint is in evaluate_model.py, music=FOLDER in evaluate_music.py, compare=[A,B] in
evaluate_compare.py, attention=FILE in evaluate_attention.py, the report in evaluate_report.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.cli import app
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.cli.evaluate_model import Drawn, Session
    from aurl.data.codec import Codec
    from aurl.data.config import DataConfig, TokenizerConfig
    from aurl.data.preprocessing import PreprocessConfig
    from aurl.data.store import TokenStore
    from aurl.models.checkpoint import Bundle

GROUPS = ("data", "preprocess")
BOUNDED = ("nats_per_note", "nats_per_beat", "nats_per_second", "token_perplexity")
"""Figures that are upper bounds where the model has latents."""
HELP = """
aurl-evaluate: how well does a model predict music it has not seen, how near is what it writes, how fast is it?

Usage: aurl-evaluate [key=value ...]

Examples:
  aurl-evaluate                                                 newest run, test split of its own corpus
  aurl-evaluate ckpt=best split=valid
  aurl-evaluate ckpt=last data=folder data.path=some/folder     every piece of a folder (or one file)
  aurl-evaluate ckpt=last data=jsb data.path=~/jsb-chorales json=jsb.json
  aurl-evaluate ckpt=best samples=200 bars=16 seed=1 report=report      samples beside the test split, as a web page
  aurl-evaluate ckpt=best technical=true stages=[data,training,generation]
  aurl-evaluate ckpt=best landscape=landscape.png               the loss around the weights, as a picture
  aurl-evaluate music=generated reference=some/folder report=report     musical metrics of files, no model
  aurl-evaluate music=generated reference=held_out training=corpus       and what is copied from the corpus
  aurl-evaluate ckpt=best attention=song.mid attention_bars=4 layers=[0,3]    who looks at whom, drawn
  aurl-evaluate compare=[generated/a,generated/b]               same seeds or prompts, file by file

Main keys (default):
  ckpt (last)        last, best, a run's folder or a file
  preprocess (none)  what is done to that music first; without it, what was done to the music of the checkpoint
  data (none)        music to measure; without it, the corpus that the checkpoint was trained on
  split (test)       train, valid, test or all; for data=folder all is the default
  json (none)        file for the figures: nats_per_note, nats_per_beat, notes, beats, tokens, pieces,
                     token_perplexity, windowed_pieces, unmet_pieces, skipped, chord_tokens where the tokenizer writes
                     chords, tables of kinds of tokens, places, context and pieces; music; technical
  report (none)      folder for report.html (one page with plots and players), report.json and samples/
  importance_samples (0)     draws for an estimate nearer to the likelihood than the bound, for checkpoints with
                     latents; 0 leaves it out, 1 is the bound again
  samples (0)        pieces drawn from the checkpoint and compared with the split, or with reference; 0 draws none
  bars (16), seed (0), temperature (1.0), top_p (0.95), batch_size (64)    how they are drawn; bars=null lets the
                     model end them, temperature=0 takes the most likely token, top_p=1 leaves none out
  music (none)       folder or file whose musical metrics are measured and which is validated; needs no model
  reference (none)   folder or file that the music, or the samples, are compared with
  metrics (none)     names or groups, metrics=[pitch,bar_order]; none means all
  training (none)    folder or file that it may have been copied from; none means the reference, and for samples the
                     training split of the checkpoint
  judges (none)      classifiers that try to tell it from the reference; none means all, [] asks none
  compare (none)     two checkpoints, folders of music or JSON files, compared piece by piece
  technical (false)  speed, latency, memory and size; likelihood is then left out unless likelihood=true
  batch_sizes ([1,4,16,64]), technical_bars (8), rounds (3)    what is timed
  technical_peer (none)      huggingface: the same for GPT-2 of equal size (needs the bench extra)
  landscape (none)   PNG file: how the loss rises around the weights along two random directions; likelihood is then
                     left out unless likelihood=true
  landscape_size (11), landscape_span (0.5), landscape_pieces (8)    points a side, how far in lengths of the weights,
                     pieces of the split that are measured
  stages (none)      peak memory of data, training and generation, each in a fresh process
  attention (none)   a score: its attention weights as attention_tokens.png, attention_bars.png and attention.npz
  attention_bars (4), layers (none), heads (none), output (none)    what is drawn of it (none: all), and where to
  device (auto)      auto, cpu, cuda or mps

nats_per_note is the negative log-likelihood of all tokens (end of piece included) divided by the number of notes;
lower is better. Pieces longer than the model's context are read in overlapping windows, so that each token sees
at least half a context of its past, as far as there is one.
"""


def main() -> None:
    """Entry point of ``aurl-evaluate``."""
    app.main("evaluate", evaluate, HELP, GROUPS)


def evaluate(cfg: DictConfig) -> None:
    """Measure, print the tables, write JSON file and report."""
    from aurl.cli.evaluate_music import check_keys, evaluate_music
    from aurl.utils.files import check_file, check_folder
    from aurl.utils.logging import setup_logging

    setup_logging(None)
    check_keys(cfg)
    if cfg.attention is not None:
        from aurl.cli.evaluate_attention import evaluate_attention

        evaluate_attention(cfg)
        return
    if cfg.report:
        check_folder(Path(cfg.report), "report=")
    for key in ("json", "landscape"):
        if cfg[key]:
            check_file(Path(cfg[key]), f"{key}=")
    if cfg.compare is not None:
        from aurl.cli.evaluate_compare import evaluate_compare

        evaluate_compare(cfg)
        return
    if cfg.music is not None:
        evaluate_music(cfg)
    else:
        evaluate_checkpoint(cfg)


def evaluate_checkpoint(cfg: DictConfig) -> None:
    """Likelihood, samples and speed of a checkpoint, as far as they are asked for.

    Raises:
        AurlError: no such checkpoint, no music, or nothing in the split.
    """
    from aurl.cli.evaluate_model import (
        Session,
        check_latents,
        check_samples,
        draw_landscape,
        measure_likelihood,
        measure_samples,
        measure_technical,
    )
    from aurl.cli.evaluate_music import skips_likelihood
    from aurl.utils.files import atomic_write_json

    if cfg.samples:
        check_samples(cfg)
    session = Session(cfg)
    check_latents(session)
    checkpoint = app.shown(session.bundle.path)
    parts: dict[str, Any] = {}
    drawn = None
    if cfg.likelihood or (cfg.likelihood is None and not skips_likelihood(cfg)):
        parts["likelihood"] = measure_likelihood(session, detailed=bool(cfg.json or cfg.report))
        print(f"{session.corpus[0].name}, {session.split}, under {checkpoint}")
        print_figures(parts["likelihood"])
    if cfg.samples:
        drawn = measure_samples(session)
        parts["music"] = drawn.report.to_dict()
        print_samples(drawn)
    if cfg.landscape:
        draw_landscape(session)
    if cfg.technical:
        parts["technical"] = measure_technical(session)
        print_technical(parts["technical"], checkpoint)
    figures = {**parts.get("likelihood", {}), **{name: part for name, part in parts.items() if name != "likelihood"}}
    if cfg.json:
        atomic_write_json(Path(cfg.json), figures)
        print(f"written: {cfg.json}")
    if cfg.report:
        report_checkpoint(session, parts, figures, drawn)


def report_checkpoint(session: Session, parts: dict[str, Any], figures: dict[str, Any], drawn: Drawn | None) -> None:
    """Write the report of a checkpoint and say where it is."""
    from aurl.cli.checkpoints import run_label
    from aurl.cli.evaluate_report import write_report, write_samples

    cfg = session.cfg
    folder = Path(cfg.report)
    words = [f"Checkpoint {app.shown(session.bundle.path)}."]
    if "likelihood" in parts:
        words.append(f"Likelihood: {session.corpus[0].name}, {session.split}.")
    if drawn is not None:
        write_samples(folder, drawn)
        length = "as long as the model makes them" if cfg.bars is None else f"of {cfg.bars} bars"
        words.append(
            f"Music: {cfg.samples} samples {length}, temperature {cfg.temperature:g}, top_p {cfg.top_p:g}, seeds from "
            f"{cfg.seed}, beside {drawn.reference}."
        )
    files = write_report(
        folder,
        f"Evaluation: {run_label(session.bundle.path)}",
        " ".join(words),
        parts,
        figures,
        None if drawn is None else drawn.report,
        None if drawn is None else lambda name: drawn.samples[name].score,
        None if drawn is None else lambda name: drawn.samples[name].bars,
    )
    print(f"Look:    {app.shown(files[0].absolute())}")


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
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("measuring", total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    return bar()


def print_figures(figures: Mapping[str, Any]) -> None:
    """The likelihood as two tables on standard output: figures, and kinds of tokens."""
    from rich.console import Console
    from rich.table import Table

    from aurl.evaluation.report_model import IMPORTANCE, importance_words, not_strict

    table = Table()
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        words = name.replace("_", " ")
        if isinstance(value, bool):
            table.add_row(words, "yes" if value else "no")
        elif isinstance(value, (int, float)):
            bound = " (upper bound)" if figures["bound"] and name in BOUNDED else ""
            table.add_row(words + bound, f"{value:.4f}" if isinstance(value, float) else f"{value:,}")
    estimate: Mapping[str, Any] = figures.get(IMPORTANCE) or {}
    for name in BOUNDED[:3] if estimate else ():
        if estimate[name] is not None:
            words = f"{name.replace('_', ' ')} (importance-weighted, {estimate['samples']} samples)"
            table.add_row(words, f"{estimate[name]:.4f}")
    Console().print(table)
    if figures["bound"] and (words := not_strict(figures)):
        print(f"upper bound{words}")
    if estimate:
        print(importance_words(estimate))
    kinds = Table()
    kinds.add_column("kind of token")
    for head in ("tokens", "nats a token", "nats per note"):
        kinds.add_column(head, justify="right")
    for row in figures["by_type"]:
        kinds.add_row(row["type"], f"{row['tokens']:,}", f"{row['nats_per_token']:.4f}", f"{row['nats_per_note']:.4f}")
    Console().print(kinds)


def print_samples(drawn: Drawn) -> None:
    """The metrics of the samples, and how many pass the validation."""
    from aurl.cli.comparison_tables import print_comparison
    from aurl.cli.evaluate_music import print_files, print_metrics

    print(f"{len(drawn.samples)} samples, beside {drawn.reference}")
    print_metrics(drawn.report)
    print_files(drawn.report)
    if drawn.report.comparison is not None:
        print_comparison(drawn.report.comparison)


def print_technical(found: Mapping[str, Any], checkpoint: str) -> None:
    """Speed, latency, size and memory on standard output."""
    from rich.table import Table

    from aurl.cli.tables import table_console

    size = found["size"]
    print(f"{checkpoint}: {size['parameters']:,} parameters, {size['checkpoint_mb']:.1f} MiB on disk")
    print(f"{found['what']}. {found['machine']}")
    peer = {row["batch_size"]: row for row in found.get("peer", ())}
    table = Table()
    heads = ["pieces at once", "tokens/s", "notes/s", "pieces/s", "ms a token p50", "p99", "ms to first note", "MiB"]
    for head in [*heads, *([f"{found['peer_name']} tokens/s"] if peer else [])]:
        table.add_column(head, justify="right")
    for row in found["speed"]:
        memory = row["peak_rss_mb"] if row["peak_cuda_mb"] is None else row["peak_cuda_mb"]
        cells = [f"{row['batch_size']}", *(f"{row[f'{key}_per_second']:.4g}" for key in ("tokens", "notes", "samples"))]
        cells += [f"{row[key]:.3g}" for key in ("token_ms_p50", "token_ms_p99", "first_note_ms")] + [f"{memory:.0f}"]
        cells += [f"{peer[row['batch_size']]['tokens_per_second']:.4g}"] if peer else []
        table.add_row(*cells)
    table_console().print(table)
    for row in found.get("stages", ()):
        print(
            f"{row['stage']}: peak {row['peak_mb']:.0f} MiB, {row['tree_mb']:.0f} with its children, "
            f"{row['seconds']:.1f} s ({row['what']})"
        )


if __name__ == "__main__":
    main()
