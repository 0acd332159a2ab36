"""What the progress bar is called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from aurl.training.callbacks.progress import ProgressBar


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "title"),
    [(30, -1, "Epoch 3/30"), (-1, 2600, "Step 120/2600"), (None, 2600, "Step 120/2600"), (-1, -1, "Step 120")],
)
def test_epochs_count_from_one_and_steps_stand_where_epochs_are_open(
    max_epochs: int | None, max_steps: int, title: str
) -> None:
    bar = ProgressBar()
    bar._trainer = SimpleNamespace(max_epochs=max_epochs, max_steps=max_steps, global_step=120)  # type: ignore[assignment]
    assert bar._get_train_description(2) == title.ljust(len("Validation"))
