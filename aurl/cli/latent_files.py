"""The files named after a verb of ``aurl-latent``: found, counted, read, and turned into pieces with latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.cli import app
from aurl.cli.latent_command import PIECES, LatentCommand
from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger
from aurl.utils.words import distinct_names

if TYPE_CHECKING:
    from symusic.core import ScoreTick

    from aurl.generation.latent_piece import LatentPiece
    from aurl.generation.latent_tools import LatentTools

    Source = ScoreTick | LatentPiece
    """What a file holds."""

log = get_logger("cli.latent_files")

LATENTS = ".npz"


def music_files(config: LatentCommand) -> list[Path]:
    """The files that are named, folders replaced by what is in them.

    Raises:
        AurlError: none, one that is missing, a folder that holds none or cannot be opened, or not as many as the verb
            takes; a donor that is no file.
    """
    from aurl.utils.words import exists_hint

    found: list[Path] = []
    for name in config.music or ():
        path = Path(name).expanduser()
        if not path.exists():
            raise AurlError(f"{path} does not exist{exists_hint(path)}; give a score, a folder, or a file of latents")
        latents = sorted(path.glob(f"*{LATENTS}")) if config.task == "decode" and path.is_dir() else []
        found += latents or (files_below(path) if path.is_dir() else [path])
    if not found:
        raise AurlError(f"{config.task} needs music: aurl-latent {config.task} FILE ...")
    check_count(config.task, len(found))
    if config.donor and not Path(config.donor).is_file():
        kind = "is a folder" if Path(config.donor).is_dir() else f"does not exist{exists_hint(Path(config.donor))}"
        raise AurlError(f"donor={config.donor} {kind}; give a score or a file of latents")
    return found


def files_below(folder: Path) -> list[Path]:
    """The scores in a folder and those below it; a folder there that cannot be opened is left out with a warning.

    Raises:
        AurlError: there is none, or the folder itself cannot be opened.
    """
    from aurl.cli.score_files import is_music
    from aurl.data.folders import walk_scores

    closed: list[OSError] = []
    found = list(walk_scores(folder, is_music, closed.append))
    for error in closed:
        if Path(error.filename) == folder:
            raise AurlError(
                f"{folder} is a folder that cannot be opened ({error.strerror}); give one that you may read"
            )
        log.warning("%s cannot be opened (%s); what is in it is left out", error.filename, error.strerror)
    if not found:
        latents = any(folder.glob(f"*{LATENTS}"))
        hint = "name its files of latents one by one" if latents else "give one with MIDI or notation files"
        raise AurlError(f"{folder} is a folder without music; {hint}")
    return found


def check_count(task: str, count: int) -> None:
    """Refuse another number of pieces than the verb takes.

    Raises:
        AurlError: with both numbers.
    """
    wanted = PIECES.get(task)
    if wanted is not None and count != wanted:
        pieces = f"{wanted} piece{'s' if wanted > 1 else ''}"
        raise AurlError(f"{task} takes {pieces}, got {count}; name {pieces}")


def read_sources(files: Sequence[Path], config: LatentCommand) -> dict[Path, Source]:
    """The files that the verb cannot do without, read before the checkpoint, which takes longer.

    Raises:
        AurlError: one cannot be read.
    """
    needed = [*files] if len(files) == 1 or config.task in PIECES else []
    if config.donor:
        needed.append(Path(config.donor))
    return {file: read_source(file) for file in needed}


def read_source(file: Path) -> Source:
    """A score, or a piece from a file of latents.

    Raises:
        AurlError: the file cannot be read.
    """
    from aurl.generation.latent_piece import load_latents
    from aurl.music.score import read_score

    return load_latents(file) if file.suffix == LATENTS else read_score(file)


def read_pieces(
    tools: LatentTools, files: Sequence[Path], config: LatentCommand, sources: Mapping[Path, Source]
) -> list[LatentPiece]:
    """The pieces of the files; where any number will do, one that cannot be read is left out with a warning.

    Raises:
        AurlError: none can be read, or one of the pieces that the verb needs.
    """
    names = distinct_names(files)
    if len(files) == 1 or config.task in PIECES:
        return [
            read_piece(tools, file, name, config.bars_read, sources[file])
            for file, name in zip(files, names, strict=True)
        ]
    pieces = []
    for file, name in zip(files, names, strict=True):
        try:
            pieces.append(read_piece(tools, file, name, config.bars_read))
        except AurlError as error:
            log.warning("%s is left out: %s", app.shown(file), error)
    if not pieces:
        raise AurlError(f"none of {len(files)} files can be read; the warnings say why")
    if len(pieces) < len(files):
        log.warning("%d of %d files left out", len(files) - len(pieces), len(files))
    return pieces


def read_piece(
    tools: LatentTools, file: Path, name: str, bars: int | None, source: Source | None = None
) -> LatentPiece:
    """A piece of a score or of a file of latents; what had to change is said in one line.

    Args:
        tools: of the checkpoint.
        file: of the piece.
        name: what a score is called; latents have a name of their own.
        bars: read only so many bars; None reads all.
        source: what the file holds; None reads it.

    Raises:
        AurlError: the file cannot be read, leaves no note, or is of another checkpoint.
    """
    from aurl.generation.latent_piece import LatentPiece

    if source is None:
        source = read_source(file)
    try:
        if isinstance(source, LatentPiece):
            return tools.first_bars(tools.check(source), bars or source.bars)
        piece, remark = tools.encode(source, name, bars)
    except AurlError as error:
        raise AurlError(f"{file}: {error}") from error
    if remark:
        log.warning("%s: %s", app.shown(file), remark)
    log.info("%s: %d bars", app.shown(file), piece.bars)
    return piece
