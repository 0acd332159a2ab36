"""Music with tokens that a checkpoint has never met: counted and named where its likelihood is measured.

Checkpoints say which programs their training pieces have, and which tokens of any kind training never meets
(aurl.data.met); those of earlier versions say the former only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aurl.data.kinds import Kind
from aurl.utils.logging import get_logger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aurl.data.store import TokenStore
    from aurl.data.vocabulary import Vocabulary

log = get_logger("cli.unmet")

LISTED = 5
"""Values of a kind that training never met named on the console."""
PROGRAMS = "programs"
KINDS = {
    Kind.PITCH: "pitches",
    Kind.PITCH_DRUM: "drum sounds",
    Kind.VELOCITY: "velocities",
    Kind.DURATION: "durations",
    Kind.POSITION: "positions",
    Kind.TIME_SHIFT: "time shifts",
    Kind.TEMPO: "tempi",
    Kind.TIMESIG: "time signatures",
    Kind.CHORD: "chords",
    Kind.BAR: "bar numbers",
}
"""Kinds of tokens other than programs that are named, in this order; where notes end is said by their pitches."""
IN_BEATS = (Kind.DURATION, Kind.POSITION, Kind.TIME_SHIFT)


def count_unmet(
    progress: Mapping[str, Any],
    vocabulary: Vocabulary,
    store: TokenStore,
    numbers: Sequence[int],
    where: str = "",
) -> dict[str, Any]:
    """Pieces with tokens that training never met, said in a line or two; nothing where there are none.

    They are measured as they are, under weights that have not learned these tokens; ``aurl-generate`` gives the tracks
    of a prompt programs that training met (aurl.generation.prompt).

    Args:
        progress: the checkpoint's.
        vocabulary: the base tokens of the checkpoint.
        store: the corpus.
        numbers: pieces of it that are measured.
        where: stands before the lines.

    Returns:
        ``unmet_pieces``, and ``unmet``: kind -> pieces with such tokens of that kind.
    """
    import numpy as np

    programs, is_program = progress.get("programs"), vocabulary.kind == Kind.PROGRAM
    is_unmet = unmet_mask(progress, vocabulary)
    found: dict[str, tuple[int, set[int]]] = {}
    pieces = others = 0
    for number in numbers:
        ids = np.unique(np.asarray(store.ids(number)))
        ids = ids[is_unmet[ids]]
        pieces += bool(len(ids))
        others += bool((~is_program[ids]).any())
        for name in {kind_name(Kind(kind)) for kind in vocabulary.kind[ids].tolist()}:
            of_kind = ids[[kind_name(Kind(kind)) == name for kind in vocabulary.kind[ids].tolist()]]
            count, known = found.get(name, (0, set()))
            found[name] = (count + 1, known | set(of_kind.tolist()))
    if not pieces:
        return {}
    if PROGRAMS in found:
        count, ids_met = found[PROGRAMS]
        words = program_words(vocabulary.value[sorted(ids_met)], programs or [])
        log.warning(
            "%s%d of %d pieces have programs that training never met, whose tokens are not learned: %s",
            where,
            count,
            len(numbers),
            words,
        )
    told = [
        f"{name} {token_words(vocabulary, found[name][1])} ({found[name][0]} pieces)"
        for name in KINDS.values()
        if name in found
    ]
    if told:
        log.warning(
            "%s%d of %d pieces have tokens that training never met, which are not learned: %s",
            where,
            others,
            len(numbers),
            "; ".join(told),
        )
    return {"unmet_pieces": pieces, "unmet": {name: count for name, (count, _) in found.items()}}


def unmet_mask(progress: Mapping[str, Any], vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Which tokens ``(V,)`` of the named kinds training never met, by what a checkpoint knows of it."""
    import numpy as np

    programs, tokens = progress.get("programs"), progress.get("unmet_tokens")
    is_unmet, is_program = np.zeros(vocabulary.size, bool), vocabulary.kind == Kind.PROGRAM
    if tokens is not None:  # programs that augmentation put in place of others have been met
        is_unmet[tokens] = True
    elif programs is not None:
        is_unmet[is_program] = ~np.isin(vocabulary.value[is_program], list(programs))
    named: NDArray[np.bool_] = is_unmet & (is_program | np.isin(vocabulary.kind, list(KINDS)))
    return named


def kind_name(kind: Kind) -> str:
    """What a kind of token is called."""
    return PROGRAMS if kind == Kind.PROGRAM else KINDS[kind]


def program_words(programs: NDArray[np.integer], met: Sequence[int]) -> str:
    """Programs, and what stands for them in a prompt; the first few of them."""
    from aurl.data.vocabulary import DRUM_PROGRAM
    from aurl.generation.prompt import nearest_program

    words = []
    different = sorted(set(programs.tolist()))
    for program in different[:LISTED]:
        stand_in = nearest_program(program, met)
        name = "drums" if program == DRUM_PROGRAM else str(program)
        words.append(f"{name} (a prompt's {'are left out' if stand_in is None else f'become {stand_in}'})")
    return ", ".join(words) + more_than_listed(different)


def token_words(vocabulary: Vocabulary, ids: set[int]) -> str:
    """What tokens of one kind stand for; the first few of them."""
    ordered = sorted(ids)
    words = []
    for id_ in ordered[:LISTED]:
        if vocabulary.kind[id_] in IN_BEATS:
            words.append(f"{vocabulary.value[id_] / vocabulary.positions_per_beat:g}")
        else:
            words.append(vocabulary.tokens[id_].partition("_")[2])
    unit = " beats" if vocabulary.kind[ordered[0]] in IN_BEATS else ""
    return ", ".join(words) + unit + more_than_listed(ordered)


def more_than_listed(items: Sequence[int]) -> str:
    """How many there are beside those that are listed."""
    return f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
