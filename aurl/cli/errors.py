"""Any exception -> one line a user can act on: what was wrong, what is allowed, what to type instead.

Hydra and OmegaConf spread one mistake over several lines and suggest ``+key=value``, which closed settings refuse; here
the key, the value and the nearest existing name are put into one sentence.
"""

from __future__ import annotations

import errno
import re
from typing import Any

from aurl.cli import conf
from aurl.utils.errors import AurlError
from aurl.utils.words import nearest

LONGEST_REASON = 300
"""Characters kept of a message that was not written for users."""
COMPLETE_LIST = "the main keys are listed by `{program} --help`, all of them by `{program} --cfg job`"
KINDS = {
    "Integer": "an integer",
    "Float": "a number",
    "Boolean": "true or false",
    "Bool": "true or false",
    "String": "text",
}
WITHOUT_ACCOUNT = "; without an account or a network add logger.wandb.offline=true"
MOVED = {"data.transpose": "augment.transpose.semitones (augment=none switches all augmentation off)"}
"""Former keys -> what to type instead."""
OUT_OF_MEMORY_HINT = "; a smaller data.batch_tokens, batch_size or model.context needs less memory"


def program(command: str) -> str:
    """What is typed for a command.

    Example:
        >>> program("train"), program("prepare")
        ('aurl-train', 'aurl-data prepare')
    """
    return f"aurl-data {command}" if command == "prepare" else f"aurl-{command}"


def explain(error: BaseException, command: str) -> str:
    """One line for the user.

    Args:
        error: what ended the command.
        command: train, generate or evaluate.
    """
    if isinstance(error, AurlError):
        return one_line(str(error))
    if type(error).__module__.split(".")[0] in ("hydra", "omegaconf") or from_hydra(error):
        return explain_config(error, command)
    if isinstance(error, OSError):
        return explain_system(error)
    name = type(error).__name__
    if type(error).__module__.split(".")[0] == "wandb":
        return f"logger=wandb: {shorten(str(error))}{WITHOUT_ACCOUNT}"
    hint = OUT_OF_MEMORY_HINT if name in ("OutOfMemoryError", "MemoryError") else ""
    if isinstance(error, ValueError) or name == "MisconfigurationException":
        return shorten(str(error) or name) + hint
    return f"{name}: {shorten(str(error))}{hint} (debug=true shows where)"


def explain_system(error: OSError) -> str:
    """A failed system call: the file and what to do."""
    reason = error.strerror or shorten(str(error))
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}{reason}; free space or choose another folder"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{where}{reason}; choose a folder that you may write to"
    if error.errno == errno.ENOTDIR:
        return f"{where}{reason}: a part of this path is a file; choose another folder"
    return f"{where}{reason}"


def from_hydra(error: BaseException) -> bool:
    """Hydra reports some mistakes as plain ValueError (``trainer=null``)."""
    return isinstance(error, ValueError) and str(error).startswith("Config group override")


def explain_config(error: BaseException, command: str) -> str:
    """A mistake found by Hydra or OmegaConf."""
    text = f"{error}\n{error.__cause__ or ''}"
    if match := re.search(r"Error in call to target '([^']+)'", text):
        cause = error.__cause__
        reason = explain(cause, command) if cause is not None else shorten(text.split("\n", 1)[1])
        place = re.search(r"full_key: (\S+)", text)
        return f"{place[1] if place else match[1]}: {reason}"
    if match := re.search(r"Could not find '([^']+)'", text):
        return missing_option(match[1], command)
    if match := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", text):
        full = re.search(r"full_key: (\S+)", text)
        return unknown_key(match[1] or (full[1] if full else match[2]), command)
    if match := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        key, value = match[1], match[2]
        return f"{key}={value}: several values need -m (one run for each) or brackets ({key}=[{value}], one list)"
    if match := re.search(r"Error parsing override '(.*)'", text):
        return f"cannot read '{match[1]}': settings are written key=value, for instance seed=1"
    if match := re.search(r"(?:Error merging override|LexerNoViableAltException:) (.*)", text):
        return wrong_value(match[1].strip(), text)
    if from_hydra(error):
        return f"{shorten(text)}; give one of the group's names, see `{program(command)} --help`"
    return shorten(text)


def wrong_value(override: str, text: str) -> str:
    """A value of the wrong type, or outside a closed list."""
    if match := re.search(r"could not be converted to (\w+)", text):
        return f"{override}: must be {KINDS.get(match[1], match[1])}"
    if match := re.search(r"Value '(.*)' is not a valid (\w+)", text):
        return f"{override}: must be {KINDS.get(match[2].title(), match[2])}"
    if match := re.search(r"expected one of \[(.*)\]", text):
        return f"{override} is unknown; allowed: {match[1]}"
    reason = next((line for line in text.splitlines()[1:] if line.strip() and "full_key" not in line), "wrong value")
    return f"{override}: {shorten(reason)}"


def missing_option(wanted: str, command: str) -> str:
    """A name that a config group does not have."""
    group, _, name = wanted.rpartition("/")
    options = conf.group_options(group)
    if not options:
        return unknown_key(wanted, command)
    return f"{group}={name} does not exist{nearest(name, options)}; allowed: {', '.join(options)}"


def unknown_key(key: str, command: str) -> str:
    """A setting that does not exist, with the nearest that does."""
    if key in MOVED:
        return f"{key} is now {MOVED[key]}"
    keys = all_keys(command)
    group, _, last = key.rpartition(".")
    if key in keys:
        group, _, _ = key.partition(".")
        options = conf.group_options(group)
        option = next((name for name in ("folder", "default", *options) if name in options), "...")
        return f"{key} needs a choice of {group} first, for instance {group}={option}"
    same_word = [known for known in keys if known.rpartition(".")[2] == last]
    hint = f"; did you mean {same_word[0]}?" if same_word else nearest(key, keys)
    return f"{key} is not a setting of {program(command)}{hint} ({COMPLETE_LIST.format(program=program(command))})"


def all_keys(command: str) -> list[str]:
    """Every key and group of a command, open groups as their defaults have them."""
    folder = conf.config_folder()
    groups = {str(file.parent.relative_to(folder)) for file in folder.glob("*/**/*.yaml")} - {"hydra"}
    return sorted(groups | set(conf.known_keys(conf.COMMANDS[command])) | set(flatten(conf.compose(command))))


def flatten(node: Any, prefix: str = "") -> list[str]:
    """Dotted keys of nested mappings."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    found: list[str] = []
    for key, value in values.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += flatten(value, f"{prefix}{key}.")
    return found


def one_line(text: str) -> str:
    """Line breaks and runs of blanks become one blank."""
    return " ".join(text.split())


def shorten(text: str) -> str:
    """One line of bearable length."""
    line = one_line(text)
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
