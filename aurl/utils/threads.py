"""How many threads a library may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    """The libraries that are loaded by now; finding them takes milliseconds, so it is done once."""
    return ThreadpoolController()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """While it is open, NumPy's matrix products stay in the thread that asks for them; a decorator as well.

    Waking other threads costs more than a small product does. PyTorch's own products are not concerned.

    Example:
        >>> with single_blas_thread():
        ...     product = matrix @ vector
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield
