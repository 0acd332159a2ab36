"""Names that were probably meant, and names that tell files apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurl.utils.words import distinct_names, nearest


def test_a_near_name_is_proposed_and_a_far_one_is_not() -> None:
    assert nearest("reconstruc", ["encode", "reconstruct"]) == "; did you mean reconstruct?"
    assert nearest("loudness", ["density", "range"]) == ""


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/song.mid", "b/tune.mid"], ["song", "tune"]),
        (["a/song.mid", "b/song.mid", "b/tune.mid"], ["a/song", "b/song", "tune"]),
        (["a/x/song.mid", "b/x/song.mid"], ["a/x/song", "b/x/song"]),
        (["a/song.mid", "a/song.abc"], ["a/song.mid", "a/song.abc"]),
        (["a/song.mid", "a/song.mid"], ["song", "song"]),
        (["song.mid", "a/song.mid"], ["song", "a/song"]),
        ([], []),
    ],
)
def test_files_get_the_shortest_names_that_differ(paths: list[str], expected: list[str]) -> None:
    assert distinct_names([Path(path) for path in paths]) == expected


def test_a_dot_in_the_name_of_a_folder_begins_no_ending(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("gen_v1.0", "gen_v1.1")]
    for folder in folders:
        folder.mkdir()
    assert distinct_names(folders) == ["gen_v1.0", "gen_v1.1"]
