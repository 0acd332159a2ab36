"""The house rules that a reader could not enforce by eye: who imports whom, Hydra in one
room, imports absolute, no print.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "aurl"
ROOMS = ("utils", "music", "data", "models", "studies", "generation", "evaluation", "training", "deploy", "cli")
ALLOWED_INSTEAD = {"models": {"utils", "models"}}
"""Rooms that may see less than everything to their left."""
CLI_ONLY = {"hydra", "omegaconf"}
WITHOUT_TORCH = {"music"}
LONGEST_FILE = 400
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str | None:
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a tree imports anywhere, functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield base
            if base == "aurl":
                yield from (f"aurl.{alias.name}" for alias in node.names)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_room_imports_only_rooms_to_its_left(file: Path) -> None:
    room = room_of(file)
    if room is None:
        return
    allowed = ALLOWED_INSTEAD.get(room, set(ROOMS[: ROOMS.index(room) + 1]))
    for module in imported(parse(file)):
        parts = module.split(".")
        if parts[0] == "aurl" and len(parts) > 1 and parts[1] in ROOMS:
            assert parts[1] in allowed, f"{name(file)} imports {module}, but {room} may import only {sorted(allowed)}"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_only_the_commands_know_hydra_and_music_does_without_torch(file: Path) -> None:
    roots = {module.split(".")[0] for module in imported(parse(file))}
    if room_of(file) != "cli":
        assert not roots & CLI_ONLY, f"{name(file)} imports {roots & CLI_ONLY}; only aurl/cli may"
    if room_of(file) in WITHOUT_TORCH:
        assert not roots & {"torch", "lightning"}, f"{name(file)} must do without torch"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_are_absolute_and_nothing_is_printed_outside_the_commands(file: Path) -> None:
    tree = parse(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(file)}:{node.lineno} has a relative import"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert room_of(file) == "cli", f"{name(file)}:{node.lineno} prints; use a logger"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_every_file_opens_with_a_map_and_stays_readable(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{name(file)} has no docstring that says what is here"
    assert text.count("\n") <= LONGEST_FILE, f"{name(file)} is longer than {LONGEST_FILE} lines; split it"
    if file.name == "__init__.py":
        logic = [node for node in tree.body[1:] if not isinstance(node, ast.Assign)]
        assert not logic, f"{name(file)} holds more than its docstring"


def test_the_commands_answer_help_without_torch_hydra_or_lightning() -> None:
    for command in ("train", "generate", "evaluate", "data", "app", "conf"):
        top = [
            node
            for node in parse(PACKAGE / "cli" / f"{command}.py").body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        roots = {module.split(".")[0] for module in imported(ast.Module(top, []))}
        assert not roots & {"torch", "lightning", "hydra", "omegaconf"}, f"aurl/cli/{command}.py"
