"""What the shell hands over reaches the config unchanged, whatever characters it has."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from aurl.cli import conf
from aurl.cli.quoting import is_quoted, quote, quote_argument, quote_arguments

KEYS = conf.known_keys(conf.TrainCommand)


def value_of(argument: str) -> Any:
    return OverridesParser.create().parse_override(argument).value()


@given(st.text(min_size=1).filter(lambda text: "${" not in text and text != "null" and not is_quoted(text)))
def test_any_path_survives_hydras_grammar(path: str) -> None:
    assert value_of(quote_argument(f"data.path={path}", KEYS)) == path


@given(st.text())
def test_a_quoted_literal_means_its_text(text: str) -> None:
    assert value_of(f"key={quote(text)}") == text


@pytest.mark.parametrize(
    "path",
    ["~/midi", "My Songs (1)/Fugue [g]", "it's", 'say "so"', "Dvořák/č. 3", "a=b", "C:\\midi\\", "x,y", "#1: F#"],
)
def test_paths_that_people_have_need_no_quotes(path: str) -> None:
    assert value_of(quote_argument(f"data.path={path}", KEYS)) == path


def test_numbers_lists_groups_and_flags_pass_unchanged() -> None:
    arguments = ["-m", "model.layers=1,2", "data=bach", "optim.lr=1e-3,3e-4", "--cfg", "job", "~callbacks.samples"]
    assert quote_arguments(arguments, KEYS) == arguments


def test_values_in_quotes_of_their_own_null_and_interpolations_are_left_alone() -> None:
    for argument in ("data.path='a b'", "ckpt=null", "data.path=${paths.cache}/x"):
        assert quote_argument(argument, KEYS) == argument


def test_a_list_may_be_written_without_brackets_unless_it_is_swept() -> None:
    assert value_of(quote_argument("augment.transpose.semitones=-3,4", KEYS)) == [-3, 4]
    assert quote_argument("programs=[0,0],[-1,1]", KEYS, sweeping=True) == "programs=[0,0],[-1,1]"


def test_commas_between_paths_sweep_only_with_m(tmp_path: Any) -> None:
    assert quote_argument("data.path=a b,c", KEYS, sweeping=True) == "data.path='a b','c'"
    assert quote_argument("data.path=a b,c", KEYS) == "data.path='a b,c'"
    odd = tmp_path / "one, two"
    odd.mkdir()
    assert value_of(quote_argument(f"data.path={odd}", KEYS, sweeping=True)) == str(odd)


def test_text_in_an_open_group_is_quoted_when_hydra_cannot_read_it() -> None:
    assert value_of(quote_argument("logger.wandb.name=my run (1", KEYS)) == "my run (1"
