"""The clock of speed experiments: CPU time of the process, which other work on a machine hardly moves, or, where a card
does the work, the time of day once the card has finished what it was given.
"""

from __future__ import annotations

import time

import torch


def seconds(device: str) -> float:
    """Seconds since some moment, for work on ``device``."""
    if not device.startswith("cuda"):
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
