"""Every option of every group composes, passes its range checks, and can be built as far as this machine allows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from aurl.cli import conf

CONFIGS = conf.config_folder()
GROUPS = sorted({str(file.parent.relative_to(CONFIGS)) for file in CONFIGS.glob("*/**/*.yaml")} - {"hydra"})
OPTIONS = [(group, option) for group in GROUPS for option in conf.group_options(group)]
COMMAND_OF = {"sampler": "generate"}
PLAIN = ["paths.output=runs/here"]
"""Outside Hydra there is no run folder to ask for."""


def compose(command: str, *overrides: str) -> DictConfig:
    plain = PLAIN if command == "train" else []
    return conf.compose(command, [*overrides, *plain])


@pytest.mark.parametrize("command", sorted(conf.COMMANDS))
def test_the_defaults_of_a_command_compose_and_are_valid(command: str) -> None:
    conf.check_command(compose(command), conf.COMMANDS[command])


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{group}={option}" for group, option in OPTIONS])
def test_every_option_composes_resolves_and_is_valid(group: str, option: str) -> None:
    command = COMMAND_OF.get(group, "train")
    if group == "sweep":  # a sweep only fills Hydra's own node, which a job does not see
        compose(command, f"{group}={option}")
        return
    cfg = compose(command, f"{group}={option}")
    OmegaConf.to_container(cfg, resolve=command == "train", throw_on_missing=True)
    conf.check_command(cfg, conf.COMMANDS[command])


def test_every_group_of_the_folder_is_tested_and_documented_by_a_first_line() -> None:
    assert {"model", "model/size", "data", "tokenizer", "optim", "trainer", "callbacks", "logger", "sampler"} <= set(
        GROUPS
    )
    for file in CONFIGS.rglob("*.yaml"):
        comment = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert any("@package" not in line for line in comment), f"{file} does not say what it is"


@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", (0.5, 1.5)), ("small", (4, 6)), ("base", (17, 23)), ("large", (78, 92))]
)
def test_a_size_has_about_the_parameters_it_says(size: str, millions: tuple[float, float]) -> None:
    import torch

    from aurl.models.hearing import TokenMeaning
    from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN

    config = conf.to_config(compose("train", f"model/size={size}").model)
    with torch.device("meta"):
        model = MusicTransformerVAEGAN(config, 400, TokenMeaning.unknown(400))
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert millions[0] <= count <= millions[1]


@pytest.mark.parametrize("option", conf.group_options("callbacks"))
def test_every_callback_group_can_be_built(option: str, tmp_path: Path) -> None:
    from aurl.cli.build import build_callbacks

    cfg = conf.compose("train", [f"callbacks={option}", f"paths.output={tmp_path}"])
    assert isinstance(build_callbacks(cfg), list)


@pytest.mark.parametrize("option", conf.group_options("logger"))
def test_every_logger_can_be_built_without_a_network(option: str, tmp_path: Path) -> None:
    from aurl.cli.build import instantiate_all

    offline = ["logger.wandb.offline=true"] if option == "wandb" else []
    cfg = conf.compose("train", [f"logger={option}", f"paths.output={tmp_path}", *offline])
    assert len(instantiate_all(cfg.logger)) == len(cfg.logger)


@pytest.mark.parametrize("option", conf.group_options("trainer"))
def test_every_trainer_is_built_or_refused_in_one_line(option: str, tmp_path: Path) -> None:
    from aurl.cli.build import build_trainer
    from aurl.utils.errors import AurlError

    cfg = conf.compose("train", [f"trainer={option}", "logger=none", "callbacks=none", f"paths.output={tmp_path}"])
    reason = ""
    try:
        build_trainer(cfg, tmp_path)
    except AurlError as error:
        reason = str(error)
    assert "\n" not in reason
    assert reason == "" or "trainer" in reason
    assert reason == "" or option in ("gpu", "ddp")


def test_the_trainer_group_has_every_key_of_lightnings_trainer() -> None:
    import inspect

    import lightning

    given_by_us = {"self", "logger", "callbacks", "plugins", "enable_autolog_hparams", "model_registry"}
    keys = set(inspect.signature(lightning.Trainer.__init__).parameters) - given_by_us
    assert keys == set(compose("train").trainer) - {"_target_"}


def test_sizes_and_single_keys_combine() -> None:
    cfg = compose("train", "model=transformer", "model/size=base", "model.layers=3")
    assert (cfg.model.hidden_dim, cfg.model.layers) == (512, 3)


def test_sampler_keys_lie_flat_and_what_is_typed_wins() -> None:
    cfg = compose("generate", "sampler=top_k", "top_k=5")
    assert (cfg.top_k, cfg.temperature) == (5, 1.0)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AURL_CACHE", str(tmp_path))
    assert compose("train").paths.cache == str(tmp_path)
    monkeypatch.delenv("AURL_CACHE")
    assert compose("train").paths.cache == os.path.join("~", ".cache", "aurl")
