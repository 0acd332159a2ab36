"""Music while training: every few batches some samples as MIDI, piano roll and sound, in a folder and in the loggers.

Sampling leaves training as it was: random streams, train or eval mode of every module, and gradients are untouched, so
a run with samples learns exactly the same weights as one without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch

from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from aurl.generation.generator import Sample

log = get_logger(__name__)

FORMATS = ("midi", "png", "wav")
FIRST_PICTURE, FIRST_SOUND = "samples/piano_roll", "samples/audio"
PICTURE_CHANNELS = 3


class SampleMusic(L.Callback):
    """Writes samples of the model under training to ``folder/step_000200`` and so on.

    The same seeds are used every time, so that the same pieces can be followed from step to step. A failure (a full
    disk, samples without notes early on) is a warning, never the end of training.

    Args:
        folder: where the folders of samples go.
        every_n_batches: training batches between samples.
        num_samples: pieces written each time.
        bars: length of each piece in bars.
        max_tokens: most tokens of each piece, a limit on the time a young model may take.
        temperature: see ``SamplerConfig``.
        top_p: see ``SamplerConfig``.
        seed: sample number i is drawn with seed + i.
        formats: any of midi, wav, png, html.

    Raises:
        ValueError: a value out of range; the message names the key, the value and what is allowed.
    """

    def __init__(
        self,
        folder: str,
        every_n_batches: int = 500,
        num_samples: int = 2,
        bars: int = 8,
        max_tokens: int = 2048,
        temperature: float = 1.0,
        top_p: float = 0.95,
        seed: int = 0,
        formats: Sequence[str] = FORMATS,
    ) -> None:
        super().__init__()
        from aurl.generation.config import SamplerConfig
        from aurl.generation.export import check_formats

        for key, value in (
            ("every_n_batches", every_n_batches),
            ("num_samples", num_samples),
            ("bars", bars),
            ("max_tokens", max_tokens),
        ):
            if value < 1:
                raise ValueError(f"callbacks.samples.{key}={value} is out of range; allowed: 1 or more")
        self.folder = Path(folder)
        self.every_n_batches, self.num_samples, self.bars, self.max_tokens = (
            every_n_batches,
            num_samples,
            bars,
            max_tokens,
        )
        self.sampler = SamplerConfig(temperature=temperature, top_p=top_p)
        self.seed = seed
        self.formats = check_formats(list(formats))
        self.last_path: Path | None = None
        """Folder of the newest samples, None before the first."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write samples when they are due, in the first process only."""
        if pl_module.batches_seen % self.every_n_batches == 0 and trainer.is_global_zero:
            self.sample(trainer, pl_module)

    def sample(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Generate, write and log samples now."""
        from aurl.generation.export import write_samples

        folder = self.folder / f"step_{pl_module.batches_seen:06d}"
        try:
            samples = [sample for sample in self.generate(pl_module) if sample.notes > 0]
            if not samples:
                log.warning("after %d batches no sample has notes yet; none was written", pl_module.batches_seen)
                return
            title = f"After {pl_module.batches_seen} batches"
            paths = write_samples(samples, folder, self.formats, overwrite=True, title=title)
        except AurlError as error:
            log.warning("no samples after %d batches: %s", pl_module.batches_seen, error)
            return
        self.last_path = folder
        pl_module.last_samples = str(folder)
        for logger in trainer.loggers:
            log_samples(logger, paths, samples, pl_module.batches_seen)

    def generate(self, pl_module: Any) -> list[Sample]:
        """Samples of the module's sampling model (the averaged weights where there are any)."""
        from aurl.generation.generator import GenerationRequest, Generator

        model = pl_module.sampling_model()
        request = GenerationRequest(
            sampler=self.sampler,
            num_samples=self.num_samples,
            bars=self.bars,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )
        with undisturbed(model):
            generator = Generator(model, pl_module.codec, str(pl_module.device), programs_met(pl_module))
            return generator.generate(request)


def programs_met(pl_module: Any) -> Sequence[int] | None:
    """Programs that training met, if the module knows them; None allows every program."""
    return pl_module.progress().get("programs")


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Restore torch's random streams and the mode of every module of ``model`` afterwards."""
    modes = {module: module.training for module in model.modules()}
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def log_samples(logger: Any, paths: Sequence[Path], samples: Sequence[Sample], batches: int) -> None:
    """Show pictures and sound in a TensorBoard or Weights & Biases logger; others are left alone."""
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

    pictures = [path for path in paths if path.suffix == ".png"]
    sounds = [path for path in paths if path.suffix == ".wav"]
    midis = [path for path in paths if path.suffix == ".mid"]
    if isinstance(logger, TensorBoardLogger):
        log_to_tensorboard(logger.experiment, pictures, sounds, batches)
    elif isinstance(logger, WandbLogger):
        captions = [f"seed {sample.seed}" for sample in samples]
        log_to_wandb(logger, pictures, sounds, midis, captions)


def log_to_tensorboard(writer: Any, pictures: Sequence[Path], sounds: Sequence[Path], batches: int) -> None:
    """Pictures and sound at step ``batches``; the tag holds the number of the sample."""
    import matplotlib.image
    import soundfile

    for path in pictures:
        picture = matplotlib.image.imread(path)[..., :PICTURE_CHANNELS]  # (height, width, 3)
        writer.add_image(f"{FIRST_PICTURE}/{path.stem}", picture, batches, dataformats="HWC")
    for path in sounds:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)  # (N, C)
        mono = torch.from_numpy(audio.mean(axis=1)).unsqueeze(0)
        writer.add_audio(f"{FIRST_SOUND}/{path.stem}", mono, batches, sample_rate=rate)
    writer.flush()


def log_to_wandb(
    logger: Any, pictures: Sequence[Path], sounds: Sequence[Path], midis: Sequence[Path], captions: Sequence[str]
) -> None:
    """Pictures and sound in one panel each, the MIDI files among the run's files."""
    if pictures:
        logger.log_image(key=FIRST_PICTURE, images=[str(path) for path in pictures], caption=list(captions))
    if sounds:
        logger.log_audio(key=FIRST_SOUND, audios=[str(path) for path in sounds], caption=list(captions))
    for path in midis:
        logger.experiment.save(str(path), base_path=str(path.parent.parent), policy="now")
