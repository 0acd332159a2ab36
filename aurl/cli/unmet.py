"""Music with programs that a checkpoint has never met: counted and named where its likelihood is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    from aurl.data.store import TokenStore
    from aurl.generation.generator import Generator

log = get_logger("cli.unmet")

LISTED_PROGRAMS = 5
"""Programs that training never met named on the console."""


def count_unmet(generator: Generator, store: TokenStore, numbers: Sequence[int]) -> dict[str, int]:
    """Pieces with programs that training never met, said in one line too; nothing where there are none.

    They are measured as they are, under weights that have not learned these programs; ``aurl-generate`` gives the
    tracks of a prompt programs that training met (aurl.generation.prompt).

    Args:
        generator: the checkpoint's.
        store: the corpus.
        numbers: pieces of it that are measured.
    """
    import numpy as np

    from aurl.data.kinds import Kind
    from aurl.data.vocabulary import DRUM_PROGRAM
    from aurl.generation.prompt import nearest_program

    met = generator.programs_met
    if met is None:
        return {}
    vocabulary = generator.codec.vocabulary
    is_unmet = (vocabulary.kind == Kind.PROGRAM) & ~np.isin(vocabulary.value, list(met))
    programs: set[int] = set()
    pieces = 0
    for number in numbers:
        ids = np.asarray(store.ids(number))
        found = set(vocabulary.value[ids[is_unmet[ids]]].tolist())
        programs |= found
        pieces += bool(found)
    if not pieces:
        return {}
    words = []
    for program in sorted(programs)[:LISTED_PROGRAMS]:
        stand_in = nearest_program(program, met)
        name = "drums" if program == DRUM_PROGRAM else str(program)
        words.append(f"{name} (a prompt's {'are left out' if stand_in is None else f'become {stand_in}'})")
    more = f" and {len(programs) - LISTED_PROGRAMS} more" if len(programs) > LISTED_PROGRAMS else ""
    log.warning(
        "%d of %d pieces have programs that training never met, whose tokens are not learned: %s%s",
        pieces,
        len(numbers),
        ", ".join(words),
        more,
    )
    return {"unmet_pieces": pieces}
