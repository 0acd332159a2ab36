"""Compound tokens, miditok's tables of one row a token, and the flat ids that models read: one to the other, exactly.

The vocabularies of the slots are laid side by side in the order in which the parts are written; ``Ignore`` and, for
CPWord, the family have no flat id, since the other parts tell them: a Pitch makes a note, a Bar or Position a metric
token. Axis legend: M compound tokens, C slots, N flat ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

IGNORE, FAMILY_NOTE, FAMILY_METRIC = "Ignore_None", "Family_Note", "Family_Metric"
SPECIAL = ("PAD_None", "BOS_None", "EOS_None")
ORDERS = {
    "TrackCPWord": ("Position", "TimeSig", "Tempo", "Program", "Pitch", "Velocity", "Duration"),
    "TrackOctuple": ("Bar", "TimeSig", "Position", "Tempo", "Program", "Pitch", "Velocity", "Duration"),
}
"""Slots in the order in which their parts are written, by tokenizer."""

IntArray = npt.NDArray[np.int64]


class Compound:
    """Both ways between compound and flat ids.

    Args:
        vocabularies: ids of the tokens of each slot, as miditok's ``vocab`` has them (C).
        slots: number of the slot of each type of token, as ``vocab_types_idx`` has them.
        order: types of the slots in the order in which their parts are written.

    Attributes:
        names: tokens by flat id.
    """

    def __init__(
        self, vocabularies: Sequence[Mapping[str, int]], slots: Mapping[str, int], order: Sequence[str]
    ) -> None:
        self.names = list(SPECIAL)
        self._slots = [slots[type_] for type_ in order]
        self._vocabularies = vocabularies
        count = len(vocabularies)
        self._flat = [np.zeros(len(vocabulary), np.int64) for vocabulary in vocabularies]  # 0: not written
        own: list[tuple[int, int]] = [(-1, 0)] * len(SPECIAL)
        for slot in self._slots:
            for name, id_ in sorted(vocabularies[slot].items(), key=lambda item: item[1]):
                if name not in (*SPECIAL, IGNORE):
                    self._flat[slot][id_] = len(self.names)
                    own.append((slot, id_))
                    self.names.append(name)
        self._own = np.array(own)
        """Slot and id in it of each flat id."""
        self._rank = np.full(count, -1)
        self._rank[self._slots] = np.arange(len(self._slots))
        self._ignored = np.array([vocabulary.get(IGNORE, 0) for vocabulary in vocabularies])
        self._family = slots.get("Family")

    def to_flat(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint16]:
        """Flat ids (N,) of compound tokens (M, C)."""
        table = np.asarray(rows, np.int64).reshape(-1, len(self._vocabularies))
        columns = [self._flat[slot][table[:, slot]] for slot in self._slots]
        flat = np.stack(columns, axis=1).ravel()
        return flat[flat != 0].astype(np.uint16)

    def to_rows(self, ids: npt.ArrayLike) -> IntArray:
        """Compound tokens (M, C) of flat ids (N,), special tokens apart.

        A part that does not stand behind the one before it in the order begins a new compound token, and so does the
        first part of a note behind a metric token.
        """
        flat = np.asarray(ids, np.int64)
        flat = flat[flat >= len(SPECIAL)]
        slot, own = self._own[flat].T
        rank = self._rank[slot]
        begins = np.append(True, rank[1:] <= rank[:-1])[: len(flat)]
        if self._family is not None:
            first_note_rank = self._rank[self._slots[3]]
            begins[1:] |= (rank[1:] >= first_note_rank) & (rank[:-1] < first_note_rank)
        row = np.cumsum(begins) - 1
        rows = np.tile(self._ignored, (int(begins.sum()), 1))
        rows[row, slot] = own
        if self._family is not None:
            note = np.zeros(len(rows), bool)
            note[row[rank >= first_note_rank]] = True
            families = self._vocabularies[self._family]
            rows[:, self._family] = np.where(note, families[FAMILY_NOTE], families[FAMILY_METRIC])
        return rows
