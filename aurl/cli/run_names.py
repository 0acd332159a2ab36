"""Names of the folders of runs: date, time, a few random digits and the user's words."""

from __future__ import annotations

import datetime
import re
import uuid
from functools import cache

RUN_ID_DIGITS = 4


@cache
def run_id() -> str:
    """Digits that keep two runs of the same second apart; one value for a process."""
    return uuid.uuid4().hex[:RUN_ID_DIGITS]


@cache
def process_start() -> datetime.datetime:
    """When this process first asked: all folders of one command carry the same time."""
    return datetime.datetime.now()


def run_folder(name: str | None) -> str:
    """``<date>_<time>_<id>`` and, if given, the run's name in characters that every file system takes."""
    stamp = f"{process_start():%Y-%m-%d_%H-%M-%S}_{run_id()}"
    words = re.sub(r"[^\w.-]+", "-", name or "").strip("-.")
    return f"{stamp}_{words}" if words else stamp
