"""``aurl-evaluate music=FOLDER``: musical metrics and validation of files, without a model.

With a reference or a training set also distances, judges, copies and diversity (tables in comparison_tables.py).
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.evaluation.folder import FolderReport, Summary

LISTED_FILES = 10
"""Failing and unreadable files named on the console; the JSON file has all."""


MODEL_KEYS = (
    "data",
    "split",
    "samples",
    "technical",
    "likelihood",
    "importance_samples",
    "stages",
    "technical_peer",
    "landscape",
)
"""Keys that ask something of a checkpoint."""
TECHNICAL_KEYS = ("stages", "technical_peer")
ATTENTION_KEYS = ("layers", "heads", "output")
"""Keys that say how attention=FILE is drawn."""
NOT_WITH_ATTENTION = ("music", "reference", "compare", "json", "report", "preprocess", *MODEL_KEYS)
ALONE = ("music", "reference", "training", "judges")
"""Keys that compare=[A,B] has no use for."""


GOES_WITH = (
    (("bars", "batch_size"), ("samples",), "samples=N"),
    (("temperature", "top_p"), ("samples", "technical"), "samples=N or technical=true"),
    (("technical_bars", "batch_sizes", "rounds"), ("technical",), "technical=true"),
    (("landscape_size", "landscape_span", "landscape_pieces"), ("landscape",), "landscape=FILE"),
    (("attention_bars",), ("attention",), "attention=FILE"),
)
"""Keys that have a value always -> keys of which one must be given for them to do anything, in words too."""


def check_keys(cfg: DictConfig) -> None:
    """Refuse keys that would do nothing, and combinations that leave nothing to do.

    Raises:
        AurlError: names the key.
    """
    from aurl.cli.conf import EvaluateCommand

    check_attention(cfg)
    check_compare(cfg)
    check_idle(cfg)
    for key in ("reference", "metrics", "training", "judges"):
        if cfg[key] is not None and cfg.music is None and not cfg.samples and cfg.compare is None:
            raise AurlError(
                f"{key}={cfg[key]} goes with music=FOLDER, which names the files to measure, or with samples=N, which "
                "draws them"
            )
    if cfg.music is not None:
        asked = [key for key in MODEL_KEYS if cfg[key] not in (None, False, 0)]
        asked = asked or ["ckpt"] * (cfg.ckpt != EvaluateCommand().ckpt)
        if asked:
            raise AurlError(
                f"music=FOLDER measures files without a model; leave out {' and '.join(asked)}, or leave out music"
            )
    for key in TECHNICAL_KEYS:
        if cfg[key] is not None and not cfg.technical:
            raise AurlError(f"{key}={cfg[key]} goes with technical=true")
    if cfg.landscape and not cfg.landscape.endswith(".png"):
        raise AurlError(f"landscape={cfg.landscape} is written as a picture; give it a name that ends in .png")
    if cfg.importance_samples and (cfg.likelihood is False or (cfg.likelihood is None and skips_likelihood(cfg))):
        raise AurlError(
            f"importance_samples={cfg.importance_samples} goes with the likelihood, which is left out here; "
            "add likelihood=true"
        )
    if cfg.likelihood is False and not (cfg.samples or cfg.technical or cfg.landscape) and cfg.music is None:
        raise AurlError("likelihood=false leaves nothing to measure; add samples=N or technical=true")


def check_idle(cfg: DictConfig) -> None:
    """Refuse changed settings of something that is not asked for.

    Raises:
        AurlError: names the key.
    """
    from aurl.cli.conf import EvaluateCommand

    usual = EvaluateCommand()
    for keys, needed, words in GOES_WITH:
        for key in keys:
            if cfg[key] != getattr(usual, key) and not any(cfg[name] for name in needed):
                raise AurlError(f"{key}={cfg[key]} goes with {words}, and does nothing without it")


def skips_likelihood(cfg: DictConfig) -> bool:
    """Whether something else is asked for that leaves the likelihood out unless it is asked for too."""
    return bool(cfg.technical or cfg.landscape)


def check_attention(cfg: DictConfig) -> None:
    """Refuse what attention=FILE cannot take, and what only it takes.

    Raises:
        AurlError: names the key.
    """
    if cfg.attention is None:
        for key in ATTENTION_KEYS:
            if cfg[key] is not None:
                raise AurlError(f"{key}={cfg[key]} goes with attention=FILE, which names the score to look at")
        return
    for key in NOT_WITH_ATTENTION:
        if cfg[key] not in (None, False, 0):
            raise AurlError(f"attention=FILE draws one score and measures nothing; leave out {key}, or attention")


def check_compare(cfg: DictConfig) -> None:
    """Refuse what compare=[A,B] cannot take.

    Raises:
        AurlError: names the key.
    """
    from aurl.cli.conf import EvaluateCommand

    if cfg.compare is None:
        return
    for key in (*ALONE, *MODEL_KEYS):
        taken = key in ("data", "split") and cfg.music is None
        if cfg[key] not in (None, False, 0) and not taken:
            raise AurlError(f"compare=[A,B] and {key}={cfg[key]} do not go together; leave one out")
    if cfg.ckpt != EvaluateCommand().ckpt:
        raise AurlError(
            f"compare=[A,B] names its checkpoints itself and does not read ckpt={cfg.ckpt}; name it there, or leave it "
            "out"
        )


def evaluate_music(cfg: DictConfig) -> None:
    """Measure the files, print the tables, write JSON file and report."""
    from aurl.cli.comparison_tables import print_comparison
    from aurl.cli.evaluate import scoring_progress
    from aurl.evaluation.comparison import check_judges
    from aurl.evaluation.folder import compare_report, measure_folder
    from aurl.evaluation.two_sample import JUDGES
    from aurl.utils.files import atomic_write_json

    judges = list(cfg.judges) if cfg.judges is not None else list(JUDGES)
    check_judges(judges)
    if cfg.judges and not cfg.reference:
        raise AurlError(f"judges={judges} goes with reference=FOLDER, from which they try to tell the music")
    with scoring_progress() as on_progress:
        report = measure_folder(
            Path(cfg.music),
            Path(cfg.reference) if cfg.reference else None,
            list(cfg.metrics) if cfg.metrics is not None else None,
            on_progress,
        )
    with scoring_progress() as on_progress:
        report = compare_report(report, Path(cfg.training) if cfg.training else None, judges, cfg.seed, on_progress)
    if cfg.json:
        atomic_write_json(Path(cfg.json), report.to_dict())
    print_metrics(report)
    print_files(report)
    if report.comparison is not None:
        print_comparison(report.comparison)
    if cfg.json:
        print(f"written: {cfg.json}")
    if cfg.report:
        report_music(cfg, report)


def report_music(cfg: DictConfig, report: FolderReport) -> None:
    """Write the report of the files and say where it is."""
    from aurl.cli import app
    from aurl.cli.evaluate_report import printable_name, write_report
    from aurl.music.score import read_score

    music = Path(cfg.music)
    intro = f"Music: {app.shown(music)}" + (f", beside {app.shown(Path(cfg.reference))}." if cfg.reference else ".")
    files = write_report(
        Path(cfg.report),
        f"Evaluation: {printable_name(music.name)}",
        intro,
        {"music": report.to_dict()},
        report.to_dict(),
        report,
        lambda name: read_score(music / name if music.is_dir() else music),
    )
    print(f"Look:    {app.shown(files[0].absolute())}")


def print_metrics(report: FolderReport) -> None:
    """One row a metric; those kept for comparability come last, under a heading of their own."""
    from rich.table import Table

    from aurl.cli.tables import table_console
    from aurl.evaluation.metrics.registry import all_metrics

    known = all_metrics()
    console = table_console()
    with_reference = report.reference_pieces > 0
    beside = f", beside {report.reference_pieces} of reference" if with_reference else ""
    print(f"{len(report.files)} piece{'' if len(report.files) == 1 else 's'}{beside}")
    for title, only in (("musical metrics", False), ("for comparability with published figures", True)):
        rows = [row for row in report.summaries if known[row.name].comparability_only == only and row.pieces]
        if not rows:
            continue
        table = Table(title=title, title_justify="left")
        table.add_column("metric", no_wrap=True)
        table.add_column("unit", no_wrap=True)
        heads = ["mean", "5 %", "median", "95 %"] + (
            ["reference 5 %", "median", "95 %", "inside"] if with_reference else []
        )
        for column in heads:
            table.add_column(column, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*cells(row, with_reference))
        console.print(table)
    # Statistics of four voices are missing in all other music, which need not be said.
    missing = [row.name for row in report.summaries if not row.pieces and known[row.name].group != "chorale"]
    if missing:
        print(f"not to be had of any piece: {', '.join(missing)}")


def cells(row: Summary, with_reference: bool) -> list[str]:
    """A metric's row as text."""
    values = [row.name, row.unit, *(shown(value) for value in (row.mean, *row.quantiles))]
    if with_reference:
        band = row.reference or (math.nan,) * 3
        values += [*(shown(value) for value in band), "" if math.isnan(row.inside) else f"{100 * row.inside:.0f} %"]
    return values


def print_files(report: FolderReport) -> None:
    """How near the style is, how long pieces hold together, how many files pass and why the others do not."""
    styles = [file.style for file in report.files if math.isfinite(file.style)]
    if styles:
        print(
            f"style: {100 * statistics.median(styles):.0f} % of the metrics of the median piece lie inside the "
            f"reference's band; of all but a twentieth of the reference's own pieces "
            f"at least {100 * report.usual_style:.0f} % do"
        )
    long = [file.coherence for file in report.files if math.isfinite(file.coherence["late_recurrence"])]
    if long:
        middle = {name: statistics.median(row[name] for row in long) for name in long[0]}
        figures = ", ".join(f"{name} {value:.2f}" for name, value in middle.items())
        print(f"coherence of {len(long)} pieces of two minutes or more (medians): {figures}")
    failing = [file for file in report.files if not file.verdict.passed]
    print(f"validation: {len(report.files) - len(failing)} of {len(report.files)} pass")
    for file in failing[:LISTED_FILES]:
        print(f"  {file.path}: {'; '.join(file.verdict.reasons)}")
    for name, reason in list(report.skipped.items())[:LISTED_FILES]:
        print(f"  {name}: not read, {reason}")
    more = max(len(failing) - LISTED_FILES, 0) + max(len(report.skipped) - LISTED_FILES, 0)
    if more:
        print(f"  and {more} more; json=FILE lists all")


def shown(value: float) -> str:
    """A number in four digits; a dash for none."""
    return "–" if math.isnan(value) else f"{value:.4g}"
