"""What ``aurl-train -m`` says at the end: a table of its runs, the best first, and ``summary.json`` in their folder.

The file is written again after each run, so that a sweep that is interrupted has it too. Each run leaves its row in a
file of its own (``summary/<job>.json``) until the sweep has ended: launchers that start jobs beside each other (joblib,
submitit) give every job a copy of this callback, and copies know nothing of each other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from aurl.cli import app
from aurl.cli.app import FAILURE, shown
from aurl.utils.logging import process_rank

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

SUMMARY_FILE = "summary.json"
ROWS_FOLDER = ".summary"
"""In the folder of a sweep that has not ended: a file for each run that has."""
WITHOUT_FIGURE = (
    "\u2013: nothing was validated (trainer.limit_val_batches=0, callbacks=none, or an end before the first "
    "validation), so that these runs are not ranked"
)

Row = dict[str, Any]


class SweepSummary(Callback):
    """Keeps what the runs of a sweep return (the best validation figure) and ranks them."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Give all jobs the folder of this process, in whichever they run, and forget what an interrupted sweep has
        left in it.
        """
        from omegaconf import flag_override

        from aurl.cli.quoting import quote

        folder = str(config.hydra.sweep.dir)  # names a time and a process
        with flag_override(config, ["struct", "readonly"], [False, False]):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quote(folder)}")
        if process_rank() == 0:
            shutil.rmtree(Path(folder).absolute() / ROWS_FOLDER, ignore_errors=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note a run of a sweep and write the summary so far."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from aurl.utils.files import atomic_write_json

        if HydraConfig.get().mode is not RunMode.MULTIRUN or process_rank() != 0:
            return
        hydra = HydraConfig.get()
        figure = job_return.return_value if job_return.status.name == "COMPLETED" else FAILURE
        sweep = Path(hydra.sweep.dir).absolute()
        row = {
            "job": int(hydra.job.num),
            "overrides": list(job_return.overrides or ()),
            "best": figure if isinstance(figure, float) else None,
            "failed": figure == FAILURE,
            "folder": str(sweep / hydra.sweep.subdir),
        }
        atomic_write_json(sweep / ROWS_FOLDER / f"{row['job']}.json", row)
        atomic_write_json(sweep / SUMMARY_FILE, ranked(read_rows(sweep)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the summary of all runs, whichever process they ran in, and show it as a table."""
        from aurl.utils.files import atomic_write_json

        sweep = Path(config.hydra.sweep.dir).absolute()
        rows = read_rows(sweep)
        if not rows or process_rank() != 0:
            return
        atomic_write_json(sweep / SUMMARY_FILE, ranked(rows))
        shutil.rmtree(sweep / ROWS_FOLDER, ignore_errors=True)
        app.failed_jobs += [row["job"] for row in rows if row["failed"]]
        print_summary(ranked(rows), sweep / SUMMARY_FILE)


def read_rows(sweep: Path) -> list[Row]:
    """What the runs of a sweep that have ended left behind."""
    files = (sweep / ROWS_FOLDER).glob("[!.]*.json")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The runs, best first; those without a figure last, in their order."""
    return sorted(rows, key=lambda row: (row["best"] is None, row["failed"], row["best"] or 0.0, row["job"]))


def varied(rows: Sequence[Row]) -> dict[int, str]:
    """Job -> its settings that are not those of all jobs."""
    common = set.intersection(*(set(row["overrides"]) for row in rows))
    return {
        row["job"]: " ".join(each for each in row["overrides"] if each not in common or len(rows) == 1) for row in rows
    }


def print_summary(rows: Sequence[Row], file: Path) -> None:
    """The table on standard output, and where the file is."""
    from rich.table import Table

    from aurl.cli.tables import table_console

    settings = varied(rows)
    table = Table(title="runs of this sweep, best first", title_justify="left")
    for head in ("job", "settings"):
        table.add_column(head, overflow="fold")
    table.add_column("best validation", justify="right")
    table.add_column("folder", overflow="fold")
    for row in rows:
        figure = FAILURE if row["failed"] else "\u2013" if row["best"] is None else f"{row['best']:.4f}"
        folder = "" if row["failed"] and not Path(row["folder"]).is_dir() else shown(Path(row["folder"]))
        table.add_row(str(row["job"]), settings[row["job"]], figure, folder)
    table_console().print(table)
    if any(row["best"] is None and not row["failed"] for row in rows):
        print(WITHOUT_FIGURE)
    print(f"written: {shown(file)}")
