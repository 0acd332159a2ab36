"""The wheel works on its own: built, installed into a clean environment, run from another folder."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMOKE = [
    *("data=synth", "data.pieces=20", "data.batch_tokens=256", "trainer=smoke"),
    *("model/size=tiny", "model.hidden_dim=16", "model.heads=2", "model.context=64"),
]
PARTS = ("aurl", "conf", "pyproject.toml", "README.md", "LICENSE")
"""What the build needs; copied, so that it leaves nothing in the checkout."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel; dependencies are read from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name == "posix")
    names = {"base": str(folder), "platbase": str(folder)}
    packages, scripts = (Path(sysconfig.get_path(kind, "venv", names)) for kind in ("purelib", "scripts"))
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / Path(sys.executable).name)]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # Only the folders are added: the link files inside them, such as that of an editable aurl, are not followed.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return scripts


def run(scripts: Path, where: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV", "PYTEST"))}
    environment |= {"AURL_CACHE": str(where / "cache"), "OMP_NUM_THREADS": "1"}
    full = [str(scripts / command), *arguments]
    result = subprocess.run(full, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(full)}\n{result.stdout}\n{result.stderr}"
    return result


def test_the_wheel_carries_the_whole_of_conf_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"aurl/conf/{file.relative_to(ROOT / 'conf').as_posix()}" for file in (ROOT / "conf").rglob("*.yaml")}
    assert expected <= names
    assert "aurl/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"aurl"}


def test_the_installed_commands_train_sweep_generate_and_measure_from_another_folder(
    installed: Path, tmp_path: Path
) -> None:
    python = installed / Path(sys.executable).name
    where = subprocess.run(
        [str(python), "-c", "import aurl; print(aurl.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in where.stdout, "the wheel is tested, not the checkout"
    assert "Trained" in run(installed, tmp_path, "aurl-train", *SMOKE, "run_name=first").stdout
    run(installed, tmp_path, "aurl-generate", "bars=2", "num_samples=1", "formats=midi", "ckpt=first")
    assert len(list(tmp_path.glob("generated/*/*.mid"))) == 1
    run(installed, tmp_path, "aurl-train", "-m", *SMOKE, "optim.lr=1e-3,3e-4")
    assert sorted(path.parent.parent.name for path in tmp_path.glob("runs/train/*/*/checkpoints/last.ckpt")) == [
        "0",
        "1",
    ]
    run(installed, tmp_path, "aurl-evaluate", "json=figures.json")
    assert (tmp_path / "figures.json").is_file()
