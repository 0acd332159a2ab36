"""Several processes draw from one plan, also where it is continued by another number of them: everything once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from memory_store import MemoryStore, build_vocabulary, plan

from aurl.data.augmentation.config import Ramp, ScheduleConfig
from aurl.data.batching import IGNORED, PackedBatch, TrainingBatches
from aurl.data.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return build_vocabulary()


@pytest.fixture(scope="module")
def store(vocabulary: Vocabulary) -> MemoryStore:
    return MemoryStore(vocabulary, [3, 40, 8, 1, 12, 25, 9, 30])


def transitions(batch: PackedBatch) -> list[tuple[int, int]]:
    """Piece and token of each target that is scored in a batch."""
    owners = np.repeat(batch.origins, batch.lengths)
    scored = (batch.targets != IGNORED).numpy()
    assert batch.source is not None
    return list(zip(owners[scored].tolist(), batch.source.numpy()[scored].tolist(), strict=True))


@pytest.fixture(scope="module")
def tunes(vocabulary: Vocabulary) -> MemoryStore:
    """Many short pieces: some of them in each batch."""
    return MemoryStore(vocabulary, [1, 2, 3, 4] * 30)


def test_processes_share_the_batches_of_one_plan_and_what_is_left_at_the_end(tunes: MemoryStore) -> None:
    drawn = plan(tunes, batch_tokens=130)
    assert drawn.batches > 14
    alone = list(TrainingBatches(drawn))
    assert len(alone) == drawn.batches
    for world in (2, 3, 4, 7):
        ranks = [list(TrainingBatches(drawn, rank, world)) for rank in range(world)]
        assert {len(batches) for batches in ranks} == {len(TrainingBatches(drawn, 0, world))}
        together = [batch for group in zip(*ranks, strict=True) for batch in group]
        whole = drawn.batches // world * world
        assert [batch.ids.tolist() for batch in together[:whole]] == [batch.ids.tolist() for batch in alone[:whole]]
        seen = Counter(place for batch in together for place in transitions(batch))
        assert seen == Counter(place for batch in alone for place in transitions(batch))
        assert set(seen.values()) == {1}


def test_more_processes_than_segments_each_get_one(vocabulary: Vocabulary) -> None:
    tiny = plan(MemoryStore(vocabulary, [2, 3]), batch_tokens=1000)
    ranks = [list(TrainingBatches(tiny, rank, 5)) for rank in range(5)]
    assert [len(batches) for batches in ranks] == [1] * 5
    assert {batch.origins for (batch,) in ranks} == {(0,), (1,)}


def test_one_process_and_four_see_the_same_batches_and_the_same_schedule(store: MemoryStore) -> None:
    ramp = ScheduleConfig(shape=Ramp.linear)

    def run(rank: int, world: int) -> list[list[tuple[list[int], tuple[int, ...]]]]:
        batches = TrainingBatches(plan(store, batch_tokens=100, schedule=ramp), rank, world)
        batches.set_length(3 * len(batches), len(batches))
        return [[(batch.ids.tolist(), batch.shifts) for batch in batches] for _ in range(3)]

    alone = run(0, 1)
    ranks = [run(rank, 4) for rank in range(4)]
    whole = len(alone[0]) // 4 * 4
    for epoch in range(3):
        together = [batch for group in zip(*(each[epoch] for each in ranks), strict=True) for batch in group]
        assert together[:whole] == alone[epoch][:whole]


class Ranks:
    """Processes that train together, each with its own loader, and what they have seen."""

    def __init__(self, store: MemoryStore, world: int, state: dict[str, int] | None = None) -> None:
        self.loaders = [TrainingBatches(plan(store, batch_tokens=130), rank, world) for rank in range(world)]
        if state is not None:
            for loader in self.loaders:
                loader.load_state_dict(state)
        self.batches: list[PackedBatch] = []

    def draw(self, steps: int | None = None) -> dict[str, int]:
        """Draw a batch each, so many times or to the end of the epoch; the state that a checkpoint would have."""
        streams = [iter(loader) for loader in self.loaders]
        left = len(self.loaders[0]) - self.loaders[0].steps_done()
        for _ in range(steps if steps is not None else left):
            self.batches += [next(stream) for stream in streams]
        if steps is None:
            assert all(next(stream, None) is None for stream in streams), "all end at the same step"
        assert all(loader.state_dict() == self.loaders[0].state_dict() for loader in self.loaders)
        return self.loaders[0].state_dict()


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("worlds", [(1, 2), (2, 1), (2, 3), (3, 2), (1, 4), (4, 1), (2, 3, 1)])
def test_an_epoch_continued_by_other_numbers_of_processes_shows_everything_once(
    tunes: MemoryStore, worlds: tuple[int, ...], steps: int
) -> None:
    whole = {place for batch in TrainingBatches(plan(tunes, batch_tokens=130)) for place in transitions(batch)}
    seen: list[PackedBatch] = []
    state: dict[str, int] | None = None
    for number, world in enumerate(worlds, start=1):
        ranks = Ranks(tunes, world, state)
        state = ranks.draw(None if number == len(worlds) else steps)
        seen += ranks.batches
    assert state == {"epoch": 1, "drawn": 0}
    assert Counter(place for batch in seen for place in transitions(batch)) == Counter(whole)
    following = Ranks(tunes, worlds[0], state)
    following.draw()
    assert {place for batch in following.batches for place in transitions(batch)} == whole


def test_training_goes_on_at_the_same_place_with_another_number_of_processes(tunes: MemoryStore) -> None:
    whole = [batch.ids.tolist() for batch in TrainingBatches(plan(tunes, batch_tokens=130))]
    ranks = Ranks(tunes, 2)
    state, seen = ranks.draw(3), ranks.batches
    for world, steps in ((1, 2), (3, 1), (2, 1)):
        ranks = Ranks(tunes, world, state)
        state = ranks.draw(steps)
        seen += ranks.batches
    assert [batch.ids.tolist() for batch in seen] == whole[:13]
    assert state == {"epoch": 0, "drawn": 13}


def test_steps_done_are_those_that_are_not_drawn_any_more(store: MemoryStore) -> None:
    drawn = plan(store, batch_tokens=60)
    for world in (1, 2, 3, 4):
        for place in range(drawn.batches):
            loader = TrainingBatches(drawn, 0, world)
            loader.load_state_dict({"epoch": 2, "drawn": place})
            done = loader.steps_done()
            assert done + len(list(loader)) == len(loader)
            assert loader.state_dict() == {"epoch": 3, "drawn": 0}


def test_an_epoch_without_batches_left_is_over_and_older_checkpoints_count_those_of_a_process(
    store: MemoryStore,
) -> None:
    drawn = plan(store, batch_tokens=60)
    loader = TrainingBatches(drawn, 0, 4)
    loader.load_state_dict({"epoch": 2, "drawn": drawn.batches})
    assert loader.state_dict() == {"epoch": 3, "drawn": 0}
    loader.load_state_dict({"epoch": 2, "consumed": 1})
    assert loader.state_dict() == {"epoch": 2, "drawn": 4}
