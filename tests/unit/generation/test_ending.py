"""How a piece of a given length ends: the bar line that may not follow becomes the end, and the other way round."""

from __future__ import annotations

import pytest
import torch

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.generation.grammar import Ending, Grammar, Rules
from aurl.generation.walk import Walk

SURE = 20.0
NOTE = ["Bar_None", "TimeSig_4/4", "Position_0", "Program_52", "Pitch_60", "Velocity", "Duration"]


def after_one_bar(bars: int, ending: Ending, favourite: str) -> tuple[dict[str, float], Grammar]:
    """Probabilities of the bar line and the end after a bar of one note, from a model that is sure of ``favourite``."""
    vocabulary = Codec.from_config(TokenizerConfig()).vocabulary
    grammar = Grammar(vocabulary, Rules(bars=bars, ending=ending))
    walk = Walk(grammar, 1)
    walk.advance(torch.tensor([vocabulary.bos]))
    walk.start_counting()
    for name in NOTE:
        token = next(index for index, known in enumerate(vocabulary.tokens) if known.startswith(name))
        walk.advance(torch.tensor([token]))
    ids = {"bar": grammar.bar, "end": vocabulary.eos}
    logits = torch.zeros(1, vocabulary.size)
    logits[0, ids[favourite]] = SURE
    chances = walk.restrict(logits).softmax(-1)[0]
    return {name: chances[token].item() for name, token in ids.items()}, grammar


@pytest.mark.parametrize("ending", list(Ending))
def test_in_the_last_bar_a_model_that_is_sure_of_a_bar_line_ends_the_piece(ending: Ending) -> None:
    chances, _ = after_one_bar(1, ending, "bar")
    assert chances["bar"] == 0.0
    assert chances["end"] > 0.99


def test_before_the_last_bar_a_model_that_is_sure_of_its_end_begins_a_new_bar() -> None:
    chances, _ = after_one_bar(2, Ending.exact, "end")
    assert chances["end"] == 0.0
    assert chances["bar"] > 0.99


def test_where_the_model_may_end_the_piece_its_word_stands() -> None:
    chances, _ = after_one_bar(2, Ending.model, "end")
    assert chances["end"] > 0.99
