from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aurl.music.beats import find_beats, read_beats
from aurl.utils.errors import UnreadableFile


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_asap_labels_give_downbeats_and_metres_and_the_first_metre_holds_before_it(tmp_path: Path) -> None:
    text = "0.5\t0.5\tb,,0\n1.0\t1.0\tdb,3/4,-2\n1.6\t1.6\tbR\n2\t2\tdb\n2.5\t2.5\tdb,6/8\n"
    beats = read_beats(written(tmp_path, "x_annotations.txt", text))
    assert beats.tolist() == [[0.5, 0, 3, 4], [1, 1, 3, 4], [1.6, 0, 3, 4], [2, 1, 3, 4], [2.5, 1, 6, 8]]


def test_pop909_in_four_takes_the_long_bars_and_in_three_the_short_ones(tmp_path: Path) -> None:
    four = "".join(f"{i / 2} {float(i % 2 == 0)} {float(i % 4 == 1)}\n" for i in range(12))
    three = "".join(f"{i / 2} {float(i % 3 == 0)} {float(i % 6 == 0)}\n" for i in range(12))
    beats = read_beats(written(tmp_path / "a", "beat_midi.txt", four))
    assert np.flatnonzero(beats[:, 1]).tolist() == [1, 5, 9] and beats[0, 2:].tolist() == [4, 4]
    beats = read_beats(written(tmp_path / "b", "beat_midi.txt", three))
    assert np.flatnonzero(beats[:, 1]).tolist() == [0, 3, 6, 9] and beats[0, 2:].tolist() == [3, 4]


def test_numbered_beats_as_trackers_write_them(tmp_path: Path) -> None:
    beats = read_beats(written(tmp_path, "x.beats", "0.1 3\n\n0.6 1\n1.1 2\n1.6 3\n2.1 1\n"))
    assert beats[:, 1].tolist() == [0, 1, 0, 0, 1] and beats[0, 2:].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x_annotations.txt", "0 0 db\n0.5 0.5 c\n", r"line 2: unknown label 'c'; allowed: b bR db"),
        ("x_annotations.txt", "0 0 db\n0.5 0.5 db,4/5\n", r"line 2: '4/5' is not a metre"),
        ("x_annotations.txt", "0 0 db\n0.5 0.5 db,four\n", r"line 2: 'four' is not a metre"),
        ("x_annotations.txt", "0 0 db\n0.5\n", r"line 2: 1 columns; at least 3 are needed"),
        ("x_annotations.txt", "0 0 db\n", r"1 beats; at least 2 are needed"),
        ("x_annotations.txt", "", r"0 beats; at least 2 are needed"),
        ("x_annotations.txt", "1 1 db\n\n1 1 b\n", r"line 3: the time 1 is not after the beat before it"),
        ("x_annotations.txt", "-1 -1 db\n1 1 b\n", r"line 1: the time -1 is before the beginning"),
        ("x_annotations.txt", "0 0 db\nnan 1 b\n", r"line 2: 'nan' is not a number"),
        ("beat_midi.txt", "0 1 x\n1 0 0\n", r"line 1: 'x' is not a number"),
        ("beat_midi.txt", "0 1 0\n1 0 0\n", r"fewer than two downbeats are marked"),
        ("x.beats", "0 1\n1 2\n", r"fewer than two downbeats are marked"),
        (
            "x.beats",
            "".join(f"{i} {i % 70 + 1}\n" for i in range(150)),
            r"70 beats from downbeat to downbeat; allowed: up to 64",
        ),
        ("x.txt", "0 1\n1 2\n", r"unknown kind of beat annotation; allowed: NAME_annotations.txt, beat_midi.txt"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(tmp_path: Path, name: str, text: str, reason: str) -> None:
    file = written(tmp_path, name, text)
    with pytest.raises(UnreadableFile, match=reason) as caught:
        read_beats(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_missing_binary_and_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        read_beats(tmp_path / "x.beats")
    (tmp_path / "y.beats").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFile, match="not a text file"):
        read_beats(tmp_path / "y.beats")
    monkeypatch.setattr("aurl.music.beats.LARGEST_FILE", 2)
    with pytest.raises(UnreadableFile, match="larger than 2 bytes"):
        read_beats(tmp_path / "y.beats")


def test_an_annotation_is_found_beside_its_own_piece_only(tmp_path: Path) -> None:
    assert find_beats(tmp_path / "x.mid") is None
    asap = written(tmp_path, "x_annotations.txt", "")
    tracker = written(tmp_path, "y.beats", "")
    pop = written(tmp_path / "001", "beat_midi.txt", "")
    assert find_beats(tmp_path / "x.mid") == asap and find_beats(str(tmp_path / "y.mid")) == tracker
    assert find_beats(tmp_path / "001" / "001.mid") == pop
    assert find_beats(tmp_path / "001" / "cl.mid") is None, "the quantised version has another time line"


@pytest.mark.parametrize("corpus", ["asap-piano", "pop909"])
def test_every_annotation_of_the_corpora_can_be_read(corpora: Callable[[str], Path], corpus: str) -> None:
    folder = corpora(corpus)
    for path in (folder / "splits" / "valid.txt").read_text(encoding="utf-8").splitlines():
        file = find_beats(folder / path)
        assert file is not None, path
        beats = read_beats(file)
        assert beats.shape[1] == 4 and (np.diff(beats[:, 0]) > 0).all() and beats[:, 1].sum() >= 2
