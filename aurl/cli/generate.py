"""``aurl-generate``: a checkpoint and perhaps a prompt -> new pieces as MIDI, audio, picture and web page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.cli import app
from aurl.cli.conf import GenerateCommand
from aurl.generation.config import SamplerConfig
from aurl.utils.errors import AurlError
from aurl.utils.files import check_folder
from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig
    from symusic.core import ScoreTick

    from aurl.generation.generator import Generator, Progress, Sample

log = get_logger("cli.generate")

GROUPS = ("sampler",)
OUTPUT_FOLDER = "generated"
MOST_TRIED = 10
"""Files of a folder that are read in search of one that could be a prompt."""
HELP = """
aurl-generate: let a trained model write music.

Usage: aurl-generate [key=value ...]

Examples:
  aurl-generate                                                 four pieces of 16 bars from the newest run
  aurl-generate ckpt=last top_p=0.9
  aurl-generate ckpt=last prompt=my.mid bars=16 num_samples=8 temperature=0.9 seed=7
  aurl-generate ckpt=best sampler=min_p formats=midi,png output=~/new

Main keys (default):
  ckpt (last)               last, best, a run's folder or name, or a file
  num_samples (4)           how many pieces
  bars (16)                 bars that are written, after those of a prompt; null lets the model end the piece
  ending (exact)            exact: as many bars as asked; model: the model may end the piece earlier
  seed (0)                  piece number i is drawn with seed + i, whatever the batch size
  prompt (none)             score to continue: MIDI, MusicXML, MEI, Humdrum or ABC
  prompt_bars (none)        keep only so many bars of the prompt
  temperature (1.0)         below 1 is safer, above 1 bolder
  pitch_temperature (none)  temperature of pitches alone: safer notes, rhythm as lively
  top_p (0.95)              keep the most likely tokens that together reach this probability
  top_k (0)                 keep only the k most likely tokens; 0 keeps all
  min_p (0)                 drop tokens less likely than this share of the most likely one
  repetition_penalty (1.0)  above 1, pitches just heard become less likely
  greedy (false)            always the most likely token
  tempo (none)              quarter notes a minute of the output
  programs (none)           General MIDI programs of the tracks, for instance programs=48,48,48,48
  batch_size (64)           pieces generated at the same time; less needs less memory
  formats (midi,wav,png,html)   kinds of files
  output (none)             folder; otherwise generated/<run>_<number>
  overwrite (false)         write over existing files
  device (auto)             auto, cpu, cuda or mps
"""


def main() -> None:
    """Entry point of ``aurl-generate``."""
    app.main("generate", generate, HELP, GROUPS)


def generate(cfg: DictConfig) -> None:
    """Generate as configured and print what was written."""
    from aurl.cli.checkpoints import resolve
    from aurl.cli.conf import to_config
    from aurl.utils.logging import setup_logging

    setup_logging(None)
    checkpoint = resolve(cfg.ckpt, Path(cfg.paths.runs))
    files = generate_files(to_config(cfg), checkpoint)
    print(summary(files, str(cfg.ckpt)))


def generate_files(config: GenerateCommand, checkpoint: Path) -> list[Path]:
    """Draw the pieces and write their files.

    Args:
        config: what is asked for.
        checkpoint: file of the model.

    Returns:
        The files written.

    Raises:
        AurlError: the checkpoint, the prompt or the folder cannot be used.
    """
    from aurl.cli.checkpoints import numbered_folder, run_label
    from aurl.generation.export import write_samples
    from aurl.music.score import read_score

    label = run_label(checkpoint)
    folder = Path(config.output) if config.output else numbered_folder(Path.cwd() / OUTPUT_FOLDER, label)
    refuse_early(folder, config)
    score = read_score(Path(config.prompt)) if config.prompt else None

    from aurl.generation.generator import Generator  # from here on it takes seconds

    generator = Generator.from_checkpoint(checkpoint, pick_device(config.device))
    samples = draw(generator, config, score)
    return write_samples(
        samples, folder, config.formats, overwrite=config.overwrite, title=label, intro=sampler_text(config)
    )


def refuse_early(folder: Path, config: GenerateCommand) -> None:
    """Say before the work, not after it, what cannot be read and what will not be written.

    Raises:
        AurlError: files would be written over, the folder cannot be written to, or the prompt is no file.
        ValueError: unknown formats, keys or chords.
    """
    from aurl.generation.export import PAGE_NAME, SUFFIXES, check_formats, file_stems, refuse_existing

    formats = check_formats(config.formats)
    read_conditions(config)
    if config.prompt:
        check_prompt(Path(config.prompt))
    check_folder(folder, "output=")
    if not config.overwrite:
        stems = file_stems(config.num_samples)
        files = [folder / f"{stem}{SUFFIXES[name]}" for stem in stems for name in formats if name in SUFFIXES]
        refuse_existing([*files, folder / PAGE_NAME])


def check_prompt(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        AurlError: a folder, or nothing.
    """
    from aurl.utils.words import exists_hint

    if path.is_dir():
        first = readable_score(path)
        example = "" if first is None else f", for instance prompt={shlex.quote(app.shown(first))}"
        raise AurlError(f"prompt={path} is a folder; give one score to continue{example}")
    if not path.is_file():
        raise AurlError(f"prompt={path} does not exist{exists_hint(path)}; give a score to continue")


def readable_score(folder: Path) -> Path | None:
    """A score in a folder that can be read; None where none of the first few can."""
    from aurl.data.folders import walk_scores
    from aurl.music.score import read_score

    for path in islice(walk_scores(folder), MOST_TRIED):
        try:
            read_score(path)
        except AurlError:
            continue
        return path
    return None


def sampler_text(config: GenerateCommand) -> str:
    """How the notes were drawn, for the page."""
    if config.is_greedy:
        return "Always the most likely token."
    off = {
        "temperature": None,
        "pitch_temperature": None,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "latent_temperature": 1.0,
    }
    changed = {key: getattr(config, key) for key, usual in off.items() if getattr(config, key) != usual}
    shown = [f"{key.replace('_', ' ')} {value:g}" for key, value in changed.items()]
    return f"Drawn with {', '.join(shown)}."


def draw(generator: Generator, config: GenerateCommand, score: ScoreTick | None) -> list[Sample]:
    """The pieces, with a progress bar in notes a second.

    Args:
        generator: of the checkpoint.
        config: what is asked for.
        score: what the file of ``prompt`` holds.
    """
    from aurl.generation.generator import GenerationRequest
    from aurl.generation.grammar import Ending

    sampler = SamplerConfig(**{item.name: getattr(config, item.name) for item in fields(SamplerConfig)})
    request = GenerationRequest(
        sampler=sampler,
        num_samples=config.num_samples,
        batch_size=config.batch_size,
        bars=config.bars,
        ending=Ending(config.ending),
        max_tokens=config.max_tokens,
        seed=config.seed,
        prompt=None if score is None else prompt_ids(generator, config, score),
        tempo=config.tempo,
        programs=config.programs,
        conditions=read_conditions(config),
    )
    with writing_progress(config.num_samples) as on_progress:
        return generator.generate(request, on_progress)


def read_conditions(config: GenerateCommand) -> dict[str, np.ndarray]:
    """What is asked of the bars: ``key`` and ``chords`` as numbers ``(bars, columns)``.

    Raises:
        ValueError: no such key or chord.
    """
    import numpy as np

    from aurl.music.chord_symbols import parse_lead_sheet
    from aurl.music.chords import QUALITY_NUMBER
    from aurl.music.keys import KEY_NAMES

    found = {}
    if config.key is not None:
        names = {name.lower(): number for number, name in enumerate(KEY_NAMES)}
        if config.key.lower() not in names:
            raise ValueError(f"key={config.key} is unknown; allowed: {', '.join(KEY_NAMES)}")
        found["key"] = np.array([[names[config.key.lower()]]])
    if config.chords is not None:
        try:
            chords = [parse_lead_sheet(symbol) for symbol in config.chords.split()]
        except ValueError as error:
            raise ValueError(f"chords={config.chords}: {error}") from error
        if not chords:
            raise ValueError("chords is empty; give one symbol a bar, such as C Am F G")
        found["chords"] = np.array([(chord.root, QUALITY_NUMBER[chord.quality]) for chord in chords])
    return found


def prompt_ids(generator: Generator, config: GenerateCommand, score: ScoreTick) -> np.ndarray:
    """The ids of the user's score, cut to ``prompt_bars``; what had to change is said in one line.

    Raises:
        AurlError: it leaves no note.
    """
    from aurl.generation.prompt import make_prompt
    from aurl.models.config import Attention

    path = Path(config.prompt or "")
    try:
        prompt = make_prompt(score, generator.codec, config.prompt_bars, generator.programs_met)
    except AurlError as error:
        raise AurlError(f"prompt={path}: {error}") from error
    if prompt.remark:
        log.warning("prompt %s: %s", app.shown(path), prompt.remark)
    if config.prompt_bars is not None and prompt.bars < config.prompt_bars:
        log.warning("prompt_bars=%d: %s has only %d, which are all taken", config.prompt_bars, path.name, prompt.bars)
    log.info("continuing %s: %d bars, %d notes", path.name, prompt.bars, prompt.notes)
    model, tokens = generator.model.config, len(generator.codec.merge(prompt.ids))
    if tokens >= model.context and model.attention is not Attention.local:
        log.info(
            "of its %d tokens the model sees the last %d at first, then up to %d; model.context was set in training",
            tokens,
            model.context // 2,
            model.context,
        )
    return prompt.ids


@contextmanager
def writing_progress(pieces: int) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on standard error; gives the callback of ``Generator.generate``. Ends with a line of its own."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("writing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    latest: list[Progress] = []
    console = Console(stderr=True)
    with Bar(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=pieces)

        def show(progress: Progress) -> None:
            latest[:] = [progress]
            speed = f"{progress.notes} notes, {progress.notes_per_second:.0f} a second"
            bar.update(task, completed=progress.finished, description=speed)

        yield show
    if latest:
        log.info(
            "%d notes written in %.1f s, %.0f a second", latest[0].notes, latest[0].seconds, latest[0].notes_per_second
        )


def pick_device(device: str) -> str:
    """Translate ``auto``; check the rest.

    Raises:
        AurlError: this machine has no such device.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, here in present.items() if here)
    if not present.get(device.split(":")[0], False):
        here = ", ".join(name for name, is_here in present.items() if is_here)
        raise AurlError(f"device={device} is not on this machine; allowed: auto, {here}")
    return device


def summary(files: Sequence[Path], ckpt: str) -> str:
    """What was written and what to type next, with the same ``ckpt``."""
    lines = [app.written(files)]
    lines += [f"Listen:  {app.shown(page)}" for page in files if page.suffix == ".html"]
    again = next((file for file in files if file.suffix == ".mid"), None)
    if again is not None:
        words = f"ckpt={shlex.quote(ckpt)} prompt={shlex.quote(app.shown(again))} prompt_bars=4 seed=100"
        lines += ["Next:", f"  aurl-generate {words}    another way on"]
    return "\n".join(lines)
