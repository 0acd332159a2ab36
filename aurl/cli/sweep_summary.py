"""What ``aurl-train -m`` says at the end: a table of its runs, the best first, and ``summary.json`` in their folder.

The file is written again after each run, so that a sweep that is interrupted has it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from aurl.cli.app import FAILURE, shown
from aurl.utils.logging import process_rank

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

SUMMARY_FILE = "summary.json"

Row = dict[str, Any]


class SweepSummary(Callback):
    """Collects what the runs of a sweep return (the best validation figure) and ranks them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

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
        self.rows.append(
            {
                "job": int(hydra.job.num),
                "overrides": list(job_return.overrides or ()),
                "best": figure if isinstance(figure, float) else None,
                "failed": figure == FAILURE,
                "folder": str(sweep / hydra.sweep.subdir),
            }
        )
        atomic_write_json(sweep / SUMMARY_FILE, ranked(self.rows))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the table."""
        if self.rows and process_rank() == 0:
            print_summary(ranked(self.rows), Path(config.hydra.sweep.dir).absolute() / SUMMARY_FILE)


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
    print(f"written: {shown(file)}")
