"""``aurl-evaluate compare=[A,B]``: two runs over the same pieces, prompts or seeds, pair by pair.

A and B are both music (folders, or JSON files written by music=FOLDER: musical metrics, paired by file name) or both
checkpoints (a run, its folder or a file: nats per note of each piece of the split, paired by piece).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger
from aurl.utils.words import distinct_names

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = get_logger("cli.evaluate_compare")

WHOLE = "all"
JSON_SUFFIX = ".json"
MUSIC = "music"
"""What a name may mean, if not a checkpoint."""
Table = dict[str, dict[str, float]]
"""File or piece -> metric -> value."""


def evaluate_compare(cfg: DictConfig) -> None:
    """Compare, print the table, write the JSON file."""
    from aurl.cli.app import shown
    from aurl.cli.comparison_tables import print_differences
    from aurl.cli.evaluate_report import write_report
    from aurl.evaluation.significance import compare
    from aurl.utils.files import atomic_write_json

    names = [str(name) for name in cfg.compare]
    kinds = [kind_of(Path(name).expanduser()) for name in names]
    check_names(names, kinds, Path(cfg.paths.runs))
    if kinds[0] != kinds[1]:
        raise AurlError(
            f"compare=[{names[0]},{names[1]}]: the first is {kinds[0]}, the second {kinds[1]}; "
            "give two of music (folders or JSON files) or two checkpoints"
        )
    shown_names = labels(names, kinds[0], Path(cfg.paths.runs))
    unmet: list[dict[str, Any]] = []
    if kinds[0] == MUSIC:
        first, second = (music_table(Path(name).expanduser(), cfg) for name in names)
        check_pairs(names, first, second)
    else:
        first, one = likelihood_table(names[0], cfg, shown_names[0])
        check_split(first, cfg)
        second, other = likelihood_table(names[1], cfg, shown_names[1])
        unmet = [one, other]
    rows = compare(first, second, seed=cfg.seed)
    if not rows:
        raise AurlError(f"compare=[{names[0]},{names[1]}]: no metric that enough pairs have")
    figures: dict[str, Any] = {"first": names[0], "second": names[1], "differences": [row.to_dict() for row in rows]}
    if any(unmet):
        figures["unmet"] = [each.get("unmet", {}) for each in unmet]
    if cfg.json:
        atomic_write_json(Path(cfg.json), figures)
    print_differences(rows, shown_names)
    if cfg.json:
        print(f"written: {cfg.json}")
    if cfg.report:
        intro = f"First: {names[0]}. Second: {names[1]}. Differences are second minus first, over pairs of pieces."
        parts = {"differences": figures["differences"]}
        page, _ = write_report(Path(cfg.report), "Two runs compared", intro, parts, figures)
        print(f"Look:    {shown(page.absolute())}")


def check_names(names: Sequence[str], kinds: Sequence[str], runs: Path) -> None:
    """Refuse a name that is nothing, before the other is measured.

    Raises:
        AurlError: neither music nor a run of this name.
    """
    from aurl.cli.checkpoints import resolve
    from aurl.utils.words import exists_hint

    for name, kind in zip(names, kinds, strict=True):
        path = Path(name).expanduser()
        others = [each for each, place in zip(kinds, names, strict=True) if place is not name]
        if MUSIC in others and not path.exists():
            try:
                resolve(name, runs, key="compare")
            except AurlError:
                raise AurlError(
                    f"compare: {name} does not exist{exists_hint(path)}; the other is music: give a second folder of "
                    "music, or a JSON file of aurl-evaluate"
                ) from None
        elif kind != MUSIC:
            resolve(name, runs, key="compare")


def labels(names: Sequence[str], kind: str, runs: Path) -> tuple[str, str]:
    """Short names that differ: of checkpoints the runs', of music the files' or folders' with what tells them apart."""
    from aurl.cli.checkpoints import CHECKPOINTS, resolve, run_name

    if kind == MUSIC:
        paths = [Path(name).expanduser().absolute() for name in names]
    else:
        paths = [resolve(name, runs, key="compare") for name in names]
        folders = [path.parent.parent if path.parent.name == CHECKPOINTS else path for path in paths]
        if folders[0] != folders[1] and all(map(Path.is_dir, folders)):
            first, second = map(run_name, folders)
            if first != second:
                return first, second
            paths = folders
    first, second = distinct_names(paths)
    if first != second:
        return first, second
    log.warning("compare=[%s,%s]: both are the same, %s", *names, paths[0])
    return "first", "second"


def check_pairs(names: Sequence[str], first: Table, second: Table) -> None:
    """Refuse music of which too few files pair by name.

    Raises:
        AurlError: says what helps: more files, or files of the same names.
    """
    from aurl.evaluation.significance import FEWEST_PAIRS

    for name, table in zip(names, (first, second), strict=True):
        if len(table) < FEWEST_PAIRS:
            raise AurlError(
                f"compare: {name} has {len(table)} readable piece{'' if len(table) == 1 else 's'}; at least "
                f"{FEWEST_PAIRS} pairs are needed: give folders with {FEWEST_PAIRS} or more files of the same names"
            )


def check_split(table: Table, cfg: DictConfig) -> None:
    """Refuse a split that is too small, before the second checkpoint is measured.

    Raises:
        AurlError: says what helps.
    """
    from aurl.evaluation.significance import FEWEST_PAIRS

    if len(table) < FEWEST_PAIRS:
        split = "" if cfg.split == WHOLE else "split=all, or "
        raise AurlError(
            f"compare: the split has {len(table)} piece{'' if len(table) == 1 else 's'} with notes; at least "
            f"{FEWEST_PAIRS} pairs are needed: take {split}more music (data=folder data.path=FOLDER)"
        )


def kind_of(path: Path) -> str:
    """Whether a name means music or a checkpoint: what is no file or folder of music is looked for among the runs."""
    from aurl.cli.checkpoints import CHECKPOINTS, SUFFIX, find_runs

    if path.suffix == JSON_SUFFIX or (path.is_file() and path.suffix != SUFFIX):
        return MUSIC
    if path.is_dir() and path.name != CHECKPOINTS and not (path / CHECKPOINTS).is_dir() and not find_runs(path):
        return MUSIC
    return "a checkpoint"


def music_table(path: Path, cfg: DictConfig) -> Table:
    """Metrics of each file, measured or read from JSON.

    Raises:
        AurlError: the file is missing or holds something else.
    """
    from aurl.cli.evaluate import scoring_progress
    from aurl.evaluation.folder import measure_folder
    from aurl.evaluation.metrics.registry import choose_metrics

    names = list(cfg.metrics) if cfg.metrics is not None else None
    if path.suffix == JSON_SUFFIX:
        wanted = None if names is None else {spec.name for spec in choose_metrics(names)}
        return {
            piece: {name: value for name, value in values.items() if wanted is None or name in wanted}
            for piece, values in read_json_table(path).items()
        }
    with scoring_progress() as on_progress:
        report = measure_folder(path, None, names, on_progress)
    return {file.path: file.values for file in report.files}


def read_json_table(path: Path) -> Table:
    """The files' metrics of a JSON file that ``music=FOLDER json=FILE`` wrote.

    Raises:
        AurlError: missing, no JSON, or without them.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return {
            file["path"]: {
                name: float("nan") if value is None else float(value) for name, value in file["metrics"].items()
            }
            for file in found["files"]
        }
    except OSError as error:
        raise AurlError(f"compare={path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AurlError(
            f"compare={path} does not hold metrics of files; write it with aurl-evaluate music=FOLDER json={path}"
        ) from error


def likelihood_table(name: str, cfg: DictConfig, label: str) -> tuple[Table, dict[str, Any]]:
    """Nats per note of each piece of the split under a checkpoint, and what of them its training never met.

    Args:
        name: of the checkpoint.
        cfg: a composed ``evaluate`` config.
        label: what the checkpoint is called in the table.

    Raises:
        AurlError: no such checkpoint, or nothing to measure.
    """
    from aurl.cli.evaluate import scoring_progress
    from aurl.cli.evaluate_model import Session
    from aurl.cli.unmet import count_unmet

    session = Session(cfg, name, key="compare")
    with scoring_progress() as on_progress:
        result, pieces = session.score(on_progress)
    vocabulary = session.generator.codec.vocabulary
    unmet = count_unmet(session.bundle.progress, vocabulary, session.store, session.pieces, f"{label}: ")
    table = {
        piece.name: {"nats_per_note": nats / piece.notes}
        for piece, nats in zip(pieces, result.piece_nats, strict=True)
        if piece.notes
    }
    return table, unmet
