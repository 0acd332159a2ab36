"""``aurl-data tokenizer`` writes learned tokens that training takes, and says what it cannot do in one line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from aurl.cli.data_tokenizer import add_verb
from aurl.data.codec import Codec
from aurl.utils.errors import AurlError


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_verb(parser.add_subparsers())
    options = parser.parse_args(["tokenizer", *arguments])
    return int(options.task(options))


def test_learned_tokens_are_written_and_shorten_what_was_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens.json"
    settings = ["data=synth", "data.pieces=12", "data.workers=1", "tokenizer=tsd", f"paths.cache={tmp_path}"]
    assert run(*settings, "--vocab-size", "1200", "--output", str(file)) == 0
    codec = Codec.from_dict(json.loads(file.read_text()))
    assert codec.vocabulary.size < codec.size <= 1200
    said = capsys.readouterr().out
    before, after = (float(number) for number in said.split("split: ")[1].split("\n")[0].split(" -> "))
    assert after < before
    assert f"tokenizer.bpe={file}" in said


@pytest.mark.parametrize("size", ["100", "-5", "70000"])
def test_a_size_that_cannot_be_learned_is_refused_before_work_starts(tmp_path: Path, size: str) -> None:
    settings = ["data=synth", "tokenizer=tsd", f"paths.cache={tmp_path / 'cache'}", "--vocab-size", size]
    with pytest.raises(AurlError, match=rf"--vocab-size {size} is out of range; allowed: 901 .* to 65535"):
        run(*settings)
    assert not (tmp_path / "cache").exists()


def test_misread_settings_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(AurlError, match="tokenizer=nonsense"):
        run("data=synth", "tokenizer=nonsense")
    with pytest.raises(AurlError, match=r"--vocab-size says how many"):
        run("data=synth", "tokenizer.bpe=2000")
