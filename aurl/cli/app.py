"""What every command does around its own work: help, quoting, checking the config, errors in one line, exit codes.

A command is ``main("train", task, HELP)``; the task gets the composed, checked config. Exit codes: 0 done, 1 error,
2 a command line that cannot be read, 130 interrupted, 143 terminated (the newest state is saved first).
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurl.cli import checks, conf
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from omegaconf import DictConfig

FAILED = 1
MISREAD = 2
INTERRUPTED = 130
TERMINATED = 143
HELP_FLAGS = frozenset({"-h", "--help"})
FLAGS_WITH_VALUE = frozenset(
    {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"}
    | {"-i", "--info", "--experimental-rerun"}
)
FLAGS = FLAGS_WITH_VALUE | {"-m", "--multirun", "-r", "--run", "--resolve", "--hydra-help", "-sc", "--shell-completion"}
LIBRARY_SETTINGS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""Environment variables of libraries, where the user has not set them. oneDNN keeps compiled code for 1,024 shapes of
matrices; packed batches have ever new ones, and a small model grew by 10 MB a step for hundreds of steps.
"""
SETTINGS_AND_LOG = frozenset({"config.yaml", "overrides.yaml", "aurl.log"})
"""What a run writes before it trains: of no use when it then fails, and ckpt=last would stumble over it."""
FAILURE = "failed"
"""What Hydra is told that a job of a sweep has returned when it ended with an error."""
WITHOUT_PATH = ("bach", "synth")
"""Sources of music that is not read from data.path."""
COMMON_HELP = """
More:
  -m                          run once for each combination of comma-separated values
  --cfg job                   print every key with its value instead of running
  --config-dir FOLDER         add your own config files (FOLDER/experiment/mine.yaml, then experiment=mine)
  debug=true                  show where an error came from

Paths and texts need no quotes beyond the shell's own: "data.path=~/My Songs (1)". A relative path starts at the folder
the command is started in. A name in quotes of its own and ${...} are read as Hydra reads them.
"""

failed_jobs: list[int] = []
"""Jobs of the last sweep that ended with an error, whichever process they ran in (sweep_summary.py)."""

Task = Callable[["DictConfig"], object]
"""The work of a command; what it returns is for Hydra's sweepers and callbacks."""


def main(command: str, task: Task, help_text: str, groups: Sequence[str] = ()) -> None:
    """Run a command on ``sys.argv`` and leave the process with its exit code.

    Args:
        command: name of the root config: train, generate or evaluate.
        task: the work; gets the config.
        help_text: what ``--help`` prints before the lists of groups.
        groups: config groups listed by ``--help``.
    """
    arguments = sys.argv[1:]
    if not HELP_FLAGS.isdisjoint(arguments):
        print(full_help(help_text, groups))
        sys.exit(0)
    if "--version" in arguments:
        import aurl

        print(f"aurl {aurl.__version__}")
        sys.exit(0)
    sys.exit(execute(command, task, arguments))


def full_help(help_text: str, groups: Sequence[str]) -> str:
    """The text of ``--help``: the command's own, its config groups with their options, the common part."""
    lines = [f"  {group}=".ljust(16) + " ".join(conf.group_options(group)) for group in groups]
    listed = "\n".join(["\nGroups and their options:", *lines, ""]) if lines else ""
    return help_text.strip("\n") + "\n" + listed + COMMON_HELP.rstrip("\n")


def execute(command: str, task: Task, arguments: Sequence[str]) -> int:
    """Run a command; every error becomes one line on standard error.

    Returns:
        The exit code.
    """
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)
    debug = any(argument.lower() in ("debug=true", "++debug=true") for argument in arguments)
    failures: list[Exception] = []
    failed_jobs.clear()
    try:
        check_arguments(arguments)
        prepared = prepare_arguments(command, arguments)
        run_hydra(command, guarded(command, task, failures, debug, prepared), prepared)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as leaving:
        return leaving_code(leaving)
    except Misread as error:
        print(f"error: {error}", file=sys.stderr)
        return MISREAD
    except Exception as error:  # noqa: BLE001 - the border of the program: whatever is left becomes one line
        report(error, command, debug)
        return FAILED
    return FAILED if failures or failed_jobs else 0


def leaving_code(leaving: SystemExit) -> int:
    """The exit code behind a SystemExit; Lightning turns Ctrl-C and SIGTERM into one."""
    if isinstance(leaving.__context__, KeyboardInterrupt):
        return INTERRUPTED
    if type(leaving).__name__ == "SIGTERMException":
        return TERMINATED
    return leaving.code if isinstance(leaving.code, int) else FAILED if leaving.code else 0


def guarded(command: str, task: Task, failures: list[Exception], debug: bool, arguments: Sequence[str] = ()) -> Task:
    """The task with its config checked first; an error is reported and kept, so that a sweep goes on.

    Args:
        command: name of the root config.
        task: the work.
        failures: errors are added to it.
        debug: whether tracebacks are shown.
        arguments: what Hydra is given: what differs from it in a job of a sweep is that job's own.
    """
    from aurl.utils.logging import process_rank

    def run(cfg: DictConfig) -> object:
        try:
            check_config(cfg, command)
            return task(cfg)
        except Exception as error:  # noqa: BLE001 - reported in one line here, because Hydra would print several
            failures.append(error)
            report(error, command, debug or bool(cfg.get("debug")), job_words(arguments))
            if not debug and process_rank() == 0:
                remove_if_empty(SETTINGS_AND_LOG)
            return FAILURE
        finally:
            remove_if_empty()

    return run


def job_words(arguments: Sequence[str]) -> str:
    """``job 2 (model.layers=4): `` within a sweep, with the settings that are not those of all its jobs; else nothing.

    Args:
        arguments: what Hydra was given for the whole sweep.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return ""
    hydra, parser = HydraConfig.get(), OverridesParser.create()
    typed = [
        parser.parse_override(argument)
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if not argument.startswith("-") and before not in FLAGS_WITH_VALUE
    ]
    same = {each.key_or_group for each in typed} - {each.key_or_group for each in typed if each.is_sweep_override()}
    own = [setting for setting in hydra.overrides.task if parser.parse_override(setting).key_or_group not in same]
    return f"job {hydra.job.num}" + (f" ({' '.join(own)})" if own else "") + ": "


def run_hydra(command: str, task: Task, arguments: Sequence[str]) -> None:
    """Hand over to Hydra, which composes the config and calls the task once for each job."""
    import hydra

    conf.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and leaving
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(version_base=conf.HYDRA_VERSION_BASE, config_path=str(conf.config_folder()), config_name=command)(task)()


class Misread(AurlError):
    """The command line itself cannot be read."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what is neither a flag nor ``key=value``.

    Raises:
        Misread: names the argument and how it would be written.
    """
    value_follows = False
    for argument in arguments:
        if value_follows:
            value_follows = False
        elif argument.startswith("-"):
            flag, has_value, value = argument.partition("=")
            if flag not in FLAGS:
                word = flag.lstrip("-").replace("-", "_")
                raise Misread(
                    f"{flag} is not a flag; settings are written without dashes: {word}={value or 'VALUE'} (see --help)"
                )
            value_follows = flag in FLAGS_WITH_VALUE and not has_value
        elif "=" not in argument and not argument.startswith("~"):
            raise Misread(f"'{argument}' is not key=value; for instance seed=1, ckpt=last or 'data.path={argument}'")


def prepare_arguments(command: str, arguments: Sequence[str]) -> list[str]:
    """Quote for Hydra what needs quoting, and bring in the settings of a run that is continued."""
    from aurl.cli.checkpoints import continued_arguments
    from aurl.cli.quoting import quote_arguments

    quoted = quote_arguments(arguments, conf.known_keys(conf.COMMANDS[command]))
    return continued_arguments(quoted) if command == "train" else quoted


def check_config(cfg: DictConfig, command: str) -> None:
    """Build every dataclass of the config once, so that ranges are checked before work starts; make paths absolute.

    Raises:
        AurlError: an unknown key that was forced in with ``+``.
        ValueError: a value out of range.
    """
    from omegaconf import OmegaConf

    from aurl.cli.errors import unknown_key
    from aurl.cli.trainer_check import check_trainer

    known = conf.known_keys(conf.COMMANDS[command])
    closed = {key.split(".")[0] for key in known if "." in key}
    present = [str(key) for key in cfg]
    present += [f"{group}.{key}" for group in closed if OmegaConf.is_dict(cfg.get(group)) for key in cfg[group]]
    for key in present:
        if key not in known:
            raise AurlError(unknown_key(key, command))
    if OmegaConf.select(cfg, "data.path") and cfg.data.source.value in WITHOUT_PATH:
        raise AurlError(f"data.path={cfg.data.path} is not read by data={cfg.data.name}; add data=folder")
    make_paths_absolute(cfg, command)
    if cfg.get("trainer") is not None:
        check_trainer(cfg.trainer)
    conf.check_command(cfg, conf.COMMANDS[command])


def make_paths_absolute(cfg: DictConfig, command: str) -> None:
    """``~`` and relative paths, seen from the folder the command was started in."""
    from omegaconf import OmegaConf

    for key in checks.PATH_KEYS[command]:
        value = OmegaConf.select(cfg, key)
        if value:
            OmegaConf.update(cfg, key, os.path.abspath(Path(value).expanduser()))


def report(error: Exception, command: str, debug: bool, where: str = "") -> None:
    """Print ``error: ...`` on standard error, after the traceback if debug=true; ``where`` stands before the reason."""
    from aurl.cli.errors import explain

    if debug:
        traceback.print_exception(error)
    try:
        line = explain(error, command)
    except Exception as second:  # noqa: BLE001 - an error while explaining must not hide the first
        line = f"{type(error).__name__}: {error} (and {type(second).__name__} while explaining it)"
    print(f"error: {where}{line}", file=sys.stderr)


def remove_if_empty(worthless: frozenset[str] = frozenset()) -> None:
    """Hydra makes a run's folder before the config is checked; a refused run leaves none behind.

    Args:
        worthless: names of files that do not make a folder worth keeping.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return
    folder = Path(HydraConfig.get().runtime.output_dir)
    if folder == Path.cwd() or not folder.is_dir() or any(file.name not in worthless for file in folder.iterdir()):
        return
    with contextlib.suppress(OSError):  # a file in use stays, and its folder with it
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def written(files: Sequence[Path]) -> str:
    """How many files were written, of which kinds, and where."""
    kinds = ", ".join(sorted({file.suffix.lstrip(".") for file in files}))
    return f"\nWritten: {len(files)} file{'' if len(files) == 1 else 's'} ({kinds}) in {shown(files[0].parent)}"
