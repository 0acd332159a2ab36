"""``aurl-latent routes`` and where the other verbs find what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from aurl.generation.latent_piece import LatentPiece
    from aurl.generation.latent_routes import Routes
    from aurl.generation.latent_tools import LatentTools

log = get_logger("cli.latent_routes")

ROUTES_SUFFIX = ".routes.npz"
"""Behind the name of the checkpoint."""
AUTO, NONE = "auto", "none"


def routes_file(checkpoint: Path) -> Path:
    """Where the routes of a checkpoint are looked for."""
    return checkpoint.with_suffix(ROUTES_SUFFIX)


def write_routes(tools: LatentTools, pieces: Sequence[LatentPiece], path: Path) -> Path:
    """Fit routes to the bars of pieces and write them.

    Raises:
        AurlError: too few bars, or a checkpoint without named dimensions.
    """
    import numpy as np

    from aurl.generation.latent_routes import Routes

    latents, attributes = (
        np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("bar_latents", "attributes")
    )
    Routes.fit(latents, attributes, tools.model.config.attributes, tools.fingerprint).save(path)
    log.info("routes of %d bars of %d pieces", len(latents), len(pieces))
    return path


def find_routes(asked: str, moves: bool, checkpoint: Path, tries: int = 1) -> Path | None:
    """The file of the routes that sliders follow; None where a slider moves its dimension alone.

    Args:
        asked: auto, none, or a file.
        moves: whether any dimension is moved at all.
        checkpoint: of the model.
        tries: ways in which bars are written; more than one needs routes.

    Raises:
        AurlError: a file that is missing or something else, that nothing would follow, or that more tries need.
    """
    from aurl.generation.latent_routes import Routes, needs_routes
    from aurl.utils.words import exists_hint

    if not moves and asked not in (AUTO, NONE):
        raise AurlError(
            f"routes={asked} would do nothing: only slide, traverse and replace with sliders move dimensions"
        )
    if not moves:
        return None
    if asked == NONE:
        if tries > 1:
            raise needs_routes(tries)
        return None
    path = routes_file(checkpoint) if asked == AUTO else Path(asked).expanduser()
    if not path.is_file():
        if asked != AUTO:
            raise AurlError(
                f"routes={asked} does not exist{exists_hint(path)}; allowed: auto, none, or a file of "
                "`aurl-latent routes`"
            )
        if tries > 1:
            raise needs_routes(tries)
        return None
    Routes.load(path)
    return path


def load_routes(path: Path, tools: LatentTools) -> Routes:
    """The routes of a file, which is named in the log.

    Raises:
        AurlError: it holds none, or those of another checkpoint.
    """
    from aurl.generation.latent_routes import Routes

    routes = Routes.load(path, tools.fingerprint)
    log.info("sliders follow %s", path)
    return routes
