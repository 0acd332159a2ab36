"""Every command of the README and of the guides runs, with overrides that make it small."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from aurl.cli import app, evaluate, generate, latent, train

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SET_UP = ['pip install -e ".[dev]" && aurl-train experiment=quickstart', "pytest"]
TASKS = {
    "train": train.train,
    "generate": generate.generate,
    "evaluate": evaluate.evaluate,
    "latent": latent.latent,
}
SMALL = {
    "train": "trainer.max_epochs=1 trainer.limit_train_batches=2 trainer.limit_val_batches=1 trainer.accelerator=cpu "
    "trainer.enable_progress_bar=false model.context=64 model.layers=1 data.batch_tokens=256 bars=1",
    "generate": "bars=1 num_samples=1 max_tokens=100 device=cpu",
    "evaluate": "device=cpu",
    "latent": "device=cpu formats=[midi] steps=3",
}
NOT_WITH_SWEEP = "model.hidden_dim=16 model.heads=2"
SMALLER_WHERE_ASKED = {"samples": "2", "bars": "2", "batch_sizes": "[1]", "stages": "[data]"}
"""What a line of aurl-evaluate asks for is asked for in small."""
QUICK = {"samples": "judges=[] metrics=[pitch]", "technical": "technical_bars=1 rounds=1 batch_sizes=[1]"}
"""What is added to a line that asks for this."""
MADE_UP = "data=synth data.pieces=30"
PIECES = 30


def commands() -> list[str]:
    """Command lines of the code blocks, in the order in which a reader meets them, each once."""
    found: list[str] = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [line for line in block.splitlines() if line and line not in found]
    return found


def run(line: str) -> int:
    """Run one command in this process, made small; what it says about size is overridden, the rest stays."""
    name, *arguments = shlex.split(line)
    command = name.removeprefix("aurl-")
    small = shlex.split(SMALL[command])
    if command == "train":
        small += shlex.split(NOT_WITH_SWEEP) if "-m" not in arguments else []
        own_data = any(argument.startswith(("data=", "ckpt=")) for argument in arguments)
        small += ["num_samples=1"] if any(argument.startswith("experiment=") for argument in arguments) else []
        small += [] if own_data else shlex.split(MADE_UP)
        if any(argument.startswith("ckpt=") for argument in arguments):
            small = ["trainer.max_epochs=2"]
    if command == "evaluate":
        asked = {argument.partition("=")[0] for argument in arguments}
        small += [f"{key}={value}" for key, value in SMALLER_WHERE_ASKED.items() if key in asked]
        small += [part for key, parts in QUICK.items() if key in asked for part in parts.split()]
        small = list(dict.fromkeys(small))
    if command == "latent":  # of the run with latents that a page trains before
        small += [f"ckpt={vae_run()}"]
        arguments = latent.with_task(arguments)
    set_here = {part.partition("=")[0] for part in small}
    small = [part for part in small if part != "steps=3" or "steps=8" in arguments]  # where the line has steps
    kept = [argument for argument in arguments if argument.partition("=")[0] not in set_here]
    return app.execute(command, TASKS[command], [*kept, *small])


def vae_run() -> Path:
    """Folder of the first run whose model has latents."""
    folders = sorted(Path("runs/train").glob("*/overrides.yaml"))
    return next(file.parent for file in folders if "model=vae" in file.read_text())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the music that the examples speak of."""
    from aurl.data.config import DataConfig, Source
    from aurl.data.sources import list_pieces, load_piece

    home = tmp_path_factory.mktemp("home")
    archive, midi, folder = home / "jsb-chorales", home / "midi", home / "some" / "folder"
    for place in (archive / "splits", midi, folder):
        place.mkdir(parents=True)
    pieces = list_pieces(DataConfig(name="synth", source=Source.synth, pieces=PIECES))
    rows, names = [], {"train": [], "valid": [], "test": []}
    for number, piece in enumerate(pieces):
        score = load_piece(piece)
        for place in (archive, midi, folder):
            score.dump_midi(place / f"{number}.mid")
        rows.append(json.dumps({"id": str(number), "path": f"{number}.mid"}))
        names[("train", "train", "valid", "test")[number % 4]].append(f"{number}.mid")
    (archive / "manifest.jsonl").write_text("\n".join(rows))
    for split, listed in names.items():
        (archive / "splits" / f"{split}.txt").write_text("\n".join(listed))
    for number, name in enumerate(("my", "song", "a", "b")):
        load_piece(pieces[number]).dump_midi(home / f"{name}.mid")
    return home


def test_the_readme_sets_up_in_two_commands() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    assert [block.strip() for block in blocks[:2]] == SET_UP


def test_every_link_of_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http") and not target.endswith(".png"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_of_the_pages_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AURL_CACHE", str(home / "cache"))
    monkeypatch.setattr(sys, "argv", ["aurl"])
    lines = [line for line in commands() if line not in SET_UP]
    assert {line.split()[0] for line in lines} == {f"aurl-{command}" for command in TASKS}
    for line in lines:
        code = run(line)
        assert code == 0, f"{line}\n{capfd.readouterr().err[-2000:]}"
    written = capfd.readouterr().out
    assert "Trained" in written
    assert "Written" in written
    assert json.loads((home / "valid.json").read_text())["pieces"] > 0
    assert len(list((home / "runs" / "train").glob("*/3/checkpoints/last.ckpt"))) == 1, "a folder for each job"
