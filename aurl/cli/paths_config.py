"""The folders that every command knows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PathsConfig:
    """Folders that commands read and write."""

    runs: str = "runs"
    """Training runs; below the folder the command is started in unless absolute."""
    cache: str = "~/.cache/aurl"
    """Prepared corpora; the environment variable AURL_CACHE changes the default."""
    cache_limit: str | None = None
    """After a corpus was prepared, remove what was not used for longest until the cache is no larger, such as 20GB."""
    output: str = "."
    """The folder of this run."""
