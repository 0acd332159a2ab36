"""Which file ``ckpt=...`` means, and the settings of a run that is continued.

A run is a folder below ``runs/`` with ``config.yaml``, ``overrides.yaml`` (what was typed)
and ``checkpoints/``. ``last`` and ``best`` speak of the newest run; a run may also be named
by its folder, by the folder's name or by the end of that name. A job of a sweep is named
after the sweep's folder and its number: ``<date>_<time>_<id>/2``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from aurl.cli.quoting import OVERRIDE
from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger
from aurl.utils.words import nearest

log = get_logger("cli.checkpoints")

CHECKPOINTS = "checkpoints"
SUFFIX = ".ckpt"
CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.yaml"
LISTED_RUNS = 5
"""Most runs named in an error."""
WORDS = ("last", "best")
NO_WEIGHTS = "init_from=null"
"""Switches off what a continued run may have begun with."""


def find_runs(runs: Path) -> list[Path]:
    """Folders below ``runs`` that hold checkpoints, newest first (by their newest checkpoint)."""
    if not runs.is_dir():
        return []
    folders = {file.parent.parent for file in runs.rglob(f"{CHECKPOINTS}/*{SUFFIX}")}
    return sorted(folders, key=lambda folder: (newest_time(folder), folder.name), reverse=True)


def newest_time(run: Path) -> float:
    """Modification time of a run's newest checkpoint."""
    return max((file.stat().st_mtime for file in (run / CHECKPOINTS).glob(f"*{SUFFIX}")), default=0.0)


def resolve(ckpt: str, runs: Path, prefer: str = "best", key: str = "ckpt") -> Path:
    """The checkpoint file that the user means.

    Args:
        ckpt: last, best, a file, a run's folder, or (the end of) a run's name.
        runs: folder that holds the runs.
        prefer: which checkpoint of a run's folder is meant: best or last.
        key: what the user has typed it for.

    Raises:
        AurlError: nothing fits; lists what exists and the nearest name.
    """
    path = Path(ckpt).expanduser()
    if path.is_file():
        return path.resolve()
    found = find_runs(runs)
    if ckpt in WORDS and not path.is_dir():
        if not found:
            raise AurlError(f"{key}={ckpt}: no checkpoint below {runs}; train first (aurl-train), or give a .ckpt file")
        return pick(found[0], ckpt)
    if path.is_dir():
        return from_folder(path, prefer, key)
    named = [run for run in found if ckpt in (run.name, run_name(run))]
    ends = (f"_{ckpt}", f"/{ckpt}") if ckpt.isdigit() else ckpt  # 2 is not the end of job 12
    named = named or [run for run in found if run_name(run).endswith(ends)]
    named = named or [run for run in found if is_job(run) and run.parent.name.endswith(ckpt)]
    if named:
        return pick(named[0], prefer)
    raise AurlError(f"{key}={ckpt} does not exist{nearest_run(ckpt, found)}; {what_exists(found, runs)}")


def from_folder(folder: Path, prefer: str, key: str = "ckpt") -> Path:
    """The checkpoint of a run's folder, of its checkpoints folder, or of the newest run inside.

    Raises:
        AurlError: there is none.
    """
    if folder.name == CHECKPOINTS:
        folder = folder.parent
    if not any((folder / CHECKPOINTS).glob(f"*{SUFFIX}")):
        inside = find_runs(folder)
        if not inside:
            raise AurlError(
                f"{key}={folder}: no checkpoint in this folder; give a run's folder, a .ckpt file, last or best"
            )
        folder = inside[0]
    return pick(folder, prefer)


def pick(run: Path, which: str) -> Path:
    """``last`` or ``best`` of a run; where training ended before there was a best one, the last."""
    folder = (run / CHECKPOINTS).resolve()
    named = folder / f"{which}{SUFFIX}"
    if named.is_file():
        return named
    last = folder / f"last{SUFFIX}"
    if last.is_file():
        log.info("%s has no %s, which the first validation writes; taken: %s", run, named.name, last.name)
        return last
    return max(folder.glob(f"*{SUFFIX}"), key=lambda file: (file.stat().st_mtime, file.name))


def nearest_run(ckpt: str, runs: Sequence[Path]) -> str:
    """Hint at the word, run or file with the nearest name."""
    path = Path(ckpt).expanduser()
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() and path.parent != Path() else []
    names = [*WORDS, *(run_name(run) for run in runs)]
    return nearest(ckpt, names) or nearest(path.name, [*names, *beside])


def what_exists(runs: Sequence[Path], folder: Path) -> str:
    """The newest runs, for an error message."""
    if not runs:
        return f"there is no run below {folder}; train first (aurl-train), or give a .ckpt file"
    names = ", ".join(run_name(run) + own_settings(run) for run in runs[:LISTED_RUNS])
    more = f" and {len(runs) - LISTED_RUNS} more" if len(runs) > LISTED_RUNS else ""
    return f"there are last, best and the runs {names}{more} below {folder}"


def is_job(run: Path) -> bool:
    """Whether a run is a job of a sweep, whose folders are numbered."""
    return run.name.isdigit()


def run_name(run: Path) -> str:
    """The name of a run's folder; of a job of a sweep, with the name of the sweep's folder before it."""
    return f"{run.parent.name}/{run.name}" if is_job(run) else run.name


def own_settings(run: Path) -> str:
    """`` (model.layers=4)``: what was typed for a job of a sweep and not for all its other jobs; else nothing."""
    if not is_job(run):
        return ""
    others = [read_overrides(job) for job in run.parent.iterdir() if job != run and job.is_dir() and is_job(job)]
    others = [settings for settings in others if settings]  # one that is about to begin has none yet
    if not others:
        return ""
    common = set.intersection(*map(set, others))
    own = [setting for setting in read_overrides(run) if setting not in common]
    return f" ({' '.join(own)})" if own else ""


def run_of(checkpoint: Path) -> Path | None:
    """The run's folder that a checkpoint lies in, None for a file from elsewhere."""
    run = checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else None
    return run if run is not None and (run / CONFIG_FILE).is_file() else None


def run_label(checkpoint: Path) -> str:
    """A short name for folders made from a checkpoint: the run's name, or the file's."""
    run = run_of(checkpoint)
    if run is None:
        return checkpoint.stem
    return run_name(run).replace("/", "_")


def continued_arguments(arguments: Sequence[str]) -> list[str]:
    """With ``ckpt=...`` among the (quoted) arguments: the settings of that run first, what was typed after.

    Raises:
        AurlError: the checkpoint does not exist, or ``init_from`` was typed as well.
    """
    typed = {key_of(argument): argument for argument in arguments if key_of(argument)}
    if "ckpt" not in typed or typed["ckpt"] == "ckpt=null":
        return list(arguments)
    if typed.get("init_from", NO_WEIGHTS) != NO_WEIGHTS:
        ckpt, weights = plain_value(typed["ckpt"]), plain_value(typed["init_from"])
        raise AurlError(
            f"ckpt={ckpt} continues a run and init_from={weights} begins a new one with weights; give one of them"
        )
    runs = plain_value(typed["paths.runs"]) if "paths.runs" in typed else "runs"
    checkpoint = resolve(plain_value(typed["ckpt"]), Path(runs).expanduser(), prefer="last")
    run = run_of(checkpoint)
    earlier = read_overrides(run) if run is not None else []
    replaced = set(typed) | {"ckpt"}
    kept = [old for old in earlier if key_of(old) not in replaced and not key_of(old).startswith("hydra.")]
    # A key that no config file has needs its + again.
    plus = {key_of(old): old[: len(old) - len(old.lstrip("+"))] for old in earlier}
    rest = [
        argument if argument.startswith("+") else plus.get(key_of(argument) or argument, "") + argument
        for argument in arguments
        if key_of(argument) != "ckpt"
    ]
    from aurl.cli.quoting import quote

    return [*kept, *rest, f"ckpt={quote(str(checkpoint))}"]


def read_overrides(run: Path) -> list[str]:
    """What was typed for a run."""
    from omegaconf import OmegaConf

    file = run / OVERRIDES_FILE
    return [str(item) for item in OmegaConf.load(file)] if file.is_file() else []


def key_of(argument: str) -> str:
    """The key of ``key=value`` without ``+``; empty for a flag."""
    match = OVERRIDE.fullmatch(argument)
    return match["key"].lstrip("+") if match else ""


def plain_value(argument: str) -> str:
    """The text meant by a quoted ``key='value'``."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return str(OverridesParser.create().parse_override(argument).value())


def numbered_folder(parent: Path, name: str) -> Path:
    """``parent/name_<n>`` with the lowest n above all that exist."""
    pattern = re.compile(re.escape(name) + r"_(\d+)")
    taken = [int(match[1]) for entry in parent.glob("*") if (match := pattern.fullmatch(entry.name))]
    return parent / f"{name}_{max(taken, default=0) + 1}"
