"""Data settings that cannot be meant are refused in one line."""

from __future__ import annotations

import pytest

from aurl.data.config import DataConfig, Source


@pytest.mark.parametrize("source", [Source.bach, Source.synth])
def test_a_folder_that_would_be_ignored_is_not_ignored_silently(source: Source) -> None:
    message = f"data.path=songs has no meaning with data={source.value}; add data=folder to use it"
    with pytest.raises(ValueError, match=message):
        DataConfig(name=source.value, source=source, path="songs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid_share": 1.0}, r"data\.valid_share=1\.0 is out of range"),
        ({"valid_share": 0.5, "test_share": 0.5}, "leave nothing to train on"),
        ({"segment_overlap": 0.9}, r"data\.segment_overlap=0\.9 is out of range; allowed: 0 to 0\.75"),
        ({"batch_tokens": 8}, r"data\.batch_tokens=8 is too small; allowed: 64 or more"),
        ({"pieces": 0}, r"data\.pieces=0 is too small"),
        ({"workers": 0}, r"data\.workers=0 is too small"),
    ],
)
def test_a_wrong_value_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**change)
