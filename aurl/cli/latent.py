"""``aurl-latent``: pieces into latents and back, between pieces, dimension by dimension, bar by bar; a verb each.

``aurl-latent VERB FILE ... key=value`` is written for Hydra as ``task=VERB music=[FILE,...] key=value``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.cli import app
from aurl.cli.latent_command import LATENT_TASKS, LatentCommand, read_bars, read_sliders
from aurl.cli.latent_files import music_files, read_piece, read_pieces, read_sources
from aurl.cli.latent_routes import find_routes, load_routes, routes_file, write_routes
from aurl.utils.errors import AurlError
from aurl.utils.files import check_file, check_folder
from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aurl.cli.latent_files import Source
    from aurl.generation.config import SamplerConfig
    from aurl.generation.latent_export import Outcome
    from aurl.generation.latent_piece import LatentPiece
    from aurl.generation.latent_tools import LatentTools

log = get_logger("cli.latent")

LATENTS = ".npz"
USAGE = f"""usage: aurl-latent VERB FILE ... [key=value ...]
error: a verb is missing; allowed: {", ".join(LATENT_TASKS)} (aurl-latent --help says what they do)"""
HELP = """
aurl-latent: what the latents of a model=vae checkpoint know about music, and what they can do to it.

Usage: aurl-latent VERB FILE ... [key=value ...]

Verbs:
  encode       latents of each bar and piece as .npz, with bar numbers and attributes
  decode       music from such files
  reconstruct  each piece beside what is written from its latents alone
  interpolate  two pieces: those on the way from one to the other, bar by bar
  slide        move dimensions: sliders=[density:+1.5,mean_pitch:-1]
  replace      write bars=[5,6] anew and keep all other notes: latents from donor=FILE, from sliders, or from the prior
  traverse     a grid: each of dimensions moved to each of values
  map          all bars on a plane, coloured by what is heard in them
  routes       learn from the music of training what else moves with a slider: writes <checkpoint>.routes.npz (or
               output=FILE), which slide, replace and traverse follow from then on

Files are scores in any format that training takes, folders of them, or .npz files of encode.

Examples:
  aurl-latent reconstruct song.mid bars_read=16
  aurl-latent interpolate a.mid b.mid steps=8
  aurl-latent slide song.mid "sliders=[density:+1.5]" bars=5-8
  aurl-latent replace song.mid bars=5,6 versions=4
  aurl-latent replace song.mid bars=5,6 donor=other.mid donor_bars=1,2
  aurl-latent traverse song.mid dimensions=[density,syncopation] values=[-2,0,2] bars_read=8
  aurl-latent map ~/songs formats=png

Main keys (default):
  ckpt (last)            last, best, a run's folder or name, or a file
  bars_read (none)       read only so many bars of each piece
  bars (none)            bars that slide, replace and traverse change, from 1: 5,6 or 5-8; without it all
  routes (auto)          what sliders follow: the file beside the checkpoint if there is one; none, or a file
  tries (1)              slide, and replace with sliders: write each moved bar in so many ways and keep the one
                         in which the wish is heard best; needs routes, 32 is a good number
  sliders (none)         dimension:amount, in standard deviations of the training data
  steps (8)              pieces that interpolate writes, both ends included
  donor, donor_bars      replace: whose latents; without donor_bars the same bars
  versions (1)           replace: how many from the prior
  latent_temperature (1) replace: how boldly the prior draws; 0 takes what it expects
  dimensions (none)      traverse: names of attributes, or z9 ...; without it all named ones
  values ([-2.0,-1.0,0.0,1.0,2.0])   traverse: by how much
  temperature (0)        0 takes the most likely token; above it notes are drawn, with top_p, top_k ...
  seed (0)               of what is drawn
  formats (midi,wav,png,html)   kinds of files
  output (none)          folder; otherwise generated/<run>_<verb>_<number>
  overwrite (false), device (auto), batch_size (64)
"""


def main() -> None:
    """Entry point of ``aurl-latent``."""
    if not sys.argv[1:]:
        print(USAGE, file=sys.stderr)
        sys.exit(app.MISREAD)
    sys.argv[1:] = with_task(sys.argv[1:])
    app.main("latent", latent, HELP)


def with_task(arguments: Sequence[str]) -> list[str]:
    """``VERB FILE ...`` at the beginning as ``task=VERB music=[FILE,...]``; the rest stays."""
    from aurl.cli.quoting import quote

    words = []
    for argument in arguments:
        if argument.startswith("-") or "=" in argument:
            break
        words.append(argument)
    rest = list(arguments[len(words) :])
    if not words:
        return rest
    files = [quote(os.path.abspath(Path(word).expanduser())) for word in words[1:]]
    return [f"task={words[0]}", *([f"music=[{','.join(files)}]"] if files else []), *rest]


def latent(cfg: DictConfig) -> None:
    """Do as configured and print what was written."""
    from aurl.cli.checkpoints import resolve
    from aurl.cli.conf import to_config
    from aurl.utils.logging import setup_logging

    setup_logging(None)
    print(summary(latent_files(to_config(cfg), resolve(cfg.ckpt, Path(cfg.paths.runs)))))


def latent_files(config: LatentCommand, checkpoint: Path) -> list[Path]:
    """Do the work and write its files.

    Args:
        config: what is asked for.
        checkpoint: file of the model.

    Returns:
        The files written.

    Raises:
        AurlError: the checkpoint, a file or a value cannot be used.
    """
    from dataclasses import fields

    from aurl.cli.checkpoints import numbered_folder, run_label
    from aurl.cli.generate import OUTPUT_FOLDER
    from aurl.generation.config import SamplerConfig
    from aurl.generation.export import PAGE_NAME, check_formats, refuse_existing

    if config.task == "routes":
        return [learn_routes(config, checkpoint)]
    check_formats(config.formats)
    label = f"{run_label(checkpoint)}_{config.task}"
    folder = Path(config.output) if config.output else numbered_folder(Path.cwd() / OUTPUT_FOLDER, label)
    check_folder(folder, "output=")
    if not config.overwrite:  # what else is written is known when the work is done
        refuse_existing([folder / PAGE_NAME])
    files = music_files(config)
    moves = config.task in ("slide", "traverse") or (config.task == "replace" and bool(config.sliders))
    routes = find_routes(config.routes, moves, checkpoint, config.tries)
    sources = read_sources(files, config)

    from aurl.generation.latent_export import write_outcome  # from here on it takes seconds

    sampler = SamplerConfig(**{item.name: getattr(config, item.name) for item in fields(SamplerConfig)})
    tools = open_tools(config, checkpoint, sampler)
    for name in (*(read_sliders(config.sliders) if config.sliders else ()), *(config.dimensions or ())):
        tools.dimension(name)
    tools.routes = None if routes is None else load_routes(routes, tools)
    outcome = outcome_of(tools, read_pieces(tools, files, config, sources), config, sources)
    return write_outcome(outcome, folder, config.formats, config.overwrite)


def open_tools(config: LatentCommand, checkpoint: Path, sampler: SamplerConfig | None = None) -> LatentTools:
    """The checkpoint, opened.

    Raises:
        AurlError: it cannot be read or has no latents, or there is no such device.
    """
    from aurl.cli.generate import pick_device
    from aurl.generation.generator import Generator
    from aurl.generation.latent_tools import GREEDY, LatentTools

    generator = Generator.from_checkpoint(checkpoint, pick_device(config.device))
    try:
        return LatentTools(generator, sampler or GREEDY, config.batch_size, config.seed)
    except AurlError as error:
        raise AurlError(f"ckpt={checkpoint}: {error}") from error


def learn_routes(config: LatentCommand, checkpoint: Path) -> Path:
    """Write the routes of a checkpoint.

    Raises:
        AurlError: no music, too little of it, or a checkpoint without named dimensions.
    """
    from aurl.generation.export import refuse_existing

    path = Path(config.output).expanduser() if config.output else routes_file(checkpoint)
    check_file(path, "output=" if config.output else "")
    if not config.overwrite:
        refuse_existing([path])
    files = music_files(config)
    sources = read_sources(files, config)
    tools = open_tools(config, checkpoint)
    return write_routes(tools, read_pieces(tools, files, config, sources), path)


def outcome_of(
    tools: LatentTools, pieces: Sequence[LatentPiece], config: LatentCommand, sources: Mapping[Path, Source]
) -> Outcome:
    """What the verb does to the pieces."""
    from aurl.generation import latent_outcomes as outcomes
    from aurl.generation.latent_search import SliderSearch

    bars = None if config.bars is None else read_bars("bars", config.bars)
    if config.task in ("encode", "decode", "reconstruct", "map"):
        simple = {
            "encode": outcomes.encoded,
            "decode": outcomes.decoded,
            "reconstruct": outcomes.reconstructed,
            "map": outcomes.mapped,
        }
        return simple[config.task](tools, pieces)
    if config.task == "interpolate":
        return outcomes.interpolated(tools, pieces[0], pieces[1], config.steps)
    if config.task == "slide":
        return outcomes.slid(tools, pieces, read_sliders(config.sliders), bars, config.tries)
    if config.task == "traverse":
        names = config.dimensions or list(tools.model.config.attributes)
        if not names:
            raise AurlError("this checkpoint has no named dimensions; say which, for instance dimensions=[z1,z2]")
        return outcomes.traversed(tools, pieces[0], names, config.values, bars)
    search = None if config.tries == 1 else SliderSearch(tools, read_sliders(config.sliders), config.tries)
    chosen = bars or []  # the config has refused to replace none
    latents, source = replacing_latents(tools, pieces[0], chosen, config, sources)
    if search is not None:
        source += f", the nearest to that of {config.tries} tries"
    return outcomes.replaced(tools, pieces[0], chosen, latents, source, search)


def replacing_latents(
    tools: LatentTools,
    piece: LatentPiece,
    bars: Sequence[int],
    config: LatentCommand,
    sources: Mapping[Path, Source],
) -> tuple[list, str]:
    """Latents for the bars that are replaced, and where they come from."""
    from aurl.generation.latent_tools import check_bars

    check_bars(bars, piece)
    rows = [bar - 1 for bar in bars]
    if config.donor:
        file = Path(config.donor)
        donor = read_piece(tools, file, file.stem, None, sources[file])
        chosen = list(bars) if config.donor_bars is None else read_bars("donor_bars", config.donor_bars)
        check_bars(chosen, donor, "donor_bars" if config.donor_bars is not None else "bars")
        latents = donor.bar_latents[[bar - 1 for bar in chosen]]
        source = f"of bars {', '.join(map(str, chosen))} of {donor.name}"
        if config.sliders:
            latents, source = tools.slid(latents, read_sliders(config.sliders)), f"{source}, moved"
        return [latents], source
    if config.sliders:
        return [tools.slid(piece.bar_latents[rows], read_sliders(config.sliders))], "moved by sliders"
    first, last = bars[0], bars[-1]
    drawn = [tools.prior_latents(piece, first, last - first + 1, config.seed + n) for n in range(config.versions)]
    return [each[[bar - first for bar in bars]] for each in drawn], "drawn from the prior"


def summary(files: Sequence[Path]) -> str:
    """What was written."""
    lines = [app.written(files)]
    lines += [f"Look and listen: {app.shown(page)}" for page in files if page.suffix == ".html"]
    return "\n".join(lines)
