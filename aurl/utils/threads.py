"""How many threads a library may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = Lock()
_limits: list[Any] = []
"""For each thread of Python that wants the limit an entry; the first is the limit itself."""


@cache
def _controller() -> ThreadpoolController:
    """The libraries that are loaded by now; finding them takes milliseconds, so it is done once."""
    return ThreadpoolController()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """While it is open, NumPy's matrix products stay in the thread that asks for them; a decorator as well.

    Waking other threads costs more than a small product does. PyTorch's own products are not concerned. The limit is
    that of the process: where several threads of Python want it, it ends with the last of them.

    Example:
        >>> with single_blas_thread():
        ...     product = matrix @ vector
    """
    with _lock:
        _limits.append(None if _limits else _controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            if len(_limits) == 1:
                _limits[0].restore_original_limits()
                _limits.clear()
            else:
                _limits.pop()  # which of the later ones leaves does not matter
