"""The grammar of a vocabulary and the samples that walk through it, whatever the tokenizer."""

from __future__ import annotations

import torch

from aurl.data.kinds import Form
from aurl.data.vocabulary import Vocabulary
from aurl.generation.grammar import Grammar, Rules
from aurl.generation.grammar_numbered import NumberedGrammar, NumberedWalk
from aurl.generation.grammar_shifts import ShiftGrammar, ShiftWalk
from aurl.generation.walk import Walk

AnyGrammar = Grammar | ShiftGrammar | NumberedGrammar
AnyWalk = Walk | ShiftWalk | NumberedWalk


def make_grammar(vocabulary: Vocabulary, rules: Rules, device: torch.device | str = "cpu") -> AnyGrammar:
    """Tables of the grammar of ``vocabulary`` under ``rules``.

    Raises:
        ValueError: the rules leave nothing to write, or ask for more than the tokens can say.
    """
    if vocabulary.form in (Form.shifts, Form.note_ends):
        return ShiftGrammar(vocabulary, rules, device)
    if vocabulary.form is Form.numbered:
        return NumberedGrammar(vocabulary, rules, device)
    return Grammar(vocabulary, rules, device)


def make_walk(grammar: AnyGrammar, batch_size: int) -> AnyWalk:
    """Samples at their beginning."""
    return Walk(grammar, batch_size) if isinstance(grammar, Grammar) else grammar.walk(batch_size)
