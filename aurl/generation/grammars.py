"""The grammar of a vocabulary and the samples that walk through it, whatever the tokenizer."""

from __future__ import annotations

import torch

from aurl.data.kinds import Form
from aurl.data.merges import Merges
from aurl.data.vocabulary import Vocabulary
from aurl.generation.grammar import Grammar, Rules
from aurl.generation.grammar_merged import MergedGrammar, MergedWalk
from aurl.generation.grammar_numbered import NumberedGrammar, NumberedWalk
from aurl.generation.grammar_shifts import ShiftGrammar, ShiftWalk
from aurl.generation.walk import Walk

BaseGrammar = Grammar | ShiftGrammar | NumberedGrammar
BaseWalk = Walk | ShiftWalk | NumberedWalk
AnyGrammar = BaseGrammar | MergedGrammar
AnyWalk = BaseWalk | MergedWalk


def make_grammar(
    vocabulary: Vocabulary, rules: Rules, device: torch.device | str = "cpu", merges: Merges | None = None
) -> AnyGrammar:
    """Tables of the grammar of ``vocabulary``, with learned tokens where there are ``merges``, under ``rules``.

    Raises:
        ValueError: the rules leave nothing to write, or ask for more than the tokens can say.
    """
    base = _base_grammar(vocabulary, rules, device)
    return base if merges is None else MergedGrammar(base, merges)


def _base_grammar(vocabulary: Vocabulary, rules: Rules, device: torch.device | str) -> BaseGrammar:
    if vocabulary.form in (Form.shifts, Form.note_ends):
        return ShiftGrammar(vocabulary, rules, device)
    if vocabulary.form is Form.numbered:
        return NumberedGrammar(vocabulary, rules, device)
    return Grammar(vocabulary, rules, device)


def make_walk(grammar: AnyGrammar, batch_size: int) -> AnyWalk:
    """Samples at their beginning."""
    if isinstance(grammar, MergedGrammar):
        return MergedWalk(grammar, _base_walk(grammar.base, batch_size))
    return _base_walk(grammar, batch_size)


def _base_walk(grammar: BaseGrammar, batch_size: int) -> BaseWalk:
    return Walk(grammar, batch_size) if isinstance(grammar, Grammar) else grammar.walk(batch_size)
