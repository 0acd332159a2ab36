"""``aurl-evaluate music=FOLDER``: tables, JSON, validation, a reference, and what a wrong command line is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from symusic import Note, Score, TimeSignature, Track

from aurl.cli import app, evaluate


def write(path: Path, seed: int, stuck: bool = False, bars: int = 24) -> None:
    rng = np.random.default_rng(seed)
    heights = 67 + np.clip(np.cumsum(rng.integers(-3, 4, bars * 8)), -12, 12)
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track()
    for index, height in enumerate(heights):
        pitch = 60 + index % 8 if stuck else int(height)
        track.notes.append(Note(index * 240, 240, pitch, 80))
    score.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    score.dump_midi(path)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("music")
    for seed in range(4):
        write(root / "made" / f"{seed}.mid", seed)
        write(root / "real" / f"{seed}.mid", seed + 50)
    write(root / "made" / "deep" / "stuck.mid", 9, stuck=True)
    (root / "made" / "broken.mid").write_bytes(b"MThd nothing")
    (root / "empty").mkdir()
    return root


def run(*arguments: str) -> int:
    return app.execute("evaluate", evaluate.evaluate, list(arguments))


def test_a_folder_is_measured_validated_and_compared(music: Path, tmp_path: Path, capsys) -> None:
    code = run(f"music={music / 'made'}", f"reference={music / 'real'}", f"json={tmp_path / 'out.json'}")
    output = capsys.readouterr()
    assert code == 0, output.err
    assert "5 pieces, beside 4 of reference" in output.out
    assert "validation: 4 of 5 pass" in output.out
    assert "% of the metrics of the median piece lie inside the reference's band" in output.out
    assert "deep/stuck.mid: 23 bars in a row repeat a loop of up to four bars (at most 16)" in output.out
    assert "broken.mid: not read" in output.out
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["pieces"] == 5 and found["passed"] == 4 and list(found["skipped"]) == ["broken.mid"]
    row = found["metrics"]["pitch_class_entropy"]
    assert row["unit"] == "bits" and row["pieces"] == 5 and len(row["reference"]) == 3
    assert found["metrics"]["chord_progression_nll"]["pieces"] == 5
    assert len(found["distributions"]["pitch_class_distribution"]) == 12
    stuck = next(file for file in found["files"] if file["path"] == "deep/stuck.mid")
    others = [file["style"] for file in found["files"] if file is not stuck]
    assert stuck["style"] < min(others) and 0 < found["usual_style"] <= 1
    assert stuck["metrics"]["loop_share"] == 1 and stuck["metrics"]["tonal_distance"] is None


def test_the_report_of_a_folder_plays_examples_and_escapes_names(music: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "new <b>"
    for name in ("<img src=x>.mid", "a&b.mid", "c.mid"):
        write(folder / name, len(name), bars=4)
    arguments = (f"music={folder}", f"reference={music / 'real'}", "metrics=[pitch]", "judges=[]")
    assert run(*arguments, f"report={tmp_path / 'report'}") == 0, capsys.readouterr().err
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert (
        page.count("<audio") == 3 and "&lt;img src=x&gt;.mid" in page and "<img" not in page and "new <b>" not in page
    )
    assert "beside 4 of the reference" in page and "<h2 id=originality>" in page
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["pieces"] == 3 and found["comparison"]["copies"]["files"]
    # one file, no reference: its example is played and nothing is compared
    assert run(f"music={folder / 'c.mid'}", "metrics=[pitch]", f"report={tmp_path / 'one'}") == 0
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 1 and "Best: c.mid" in page and "Without reference=FOLDER" in page


def test_chosen_metrics_of_one_file_need_no_reference(music: Path, capsys) -> None:
    assert run(f"music={music / 'made' / '0.mid'}", "metrics=[pitch_range,structure,drum_pattern_consistency]") == 0
    output = capsys.readouterr().out
    assert "not to be had of any piece: drum_pattern_consistency\n" in output
    assert (
        output.lstrip().startswith("1 piece\n")
        and "pitch_range" in output
        and "lag_peak" in output
        and "dissonance" not in output
    )


def test_long_pieces_are_told_how_they_hold_together(tmp_path: Path, capsys) -> None:
    write(tmp_path / "long.mid", 3, bars=80)  # 160 seconds
    assert run(f"music={tmp_path}", "metrics=[pitch_range]") == 0
    assert "coherence of 1 pieces of two minutes or more (medians): bridge_similarity 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["music={made}", "metrics=[pitch_rnge]"], "metrics=pitch_rnge is unknown; did you mean pitch_range?"),
        (["music={made}", "metrics=[chord_progression_nll]"], "is measured against a corpus: give reference=FOLDER"),
        (["music={root}/nowhere"], "does not exist; give a folder of music or one file"),
        (["music={root}/empty"], "holds no music"),
        (["music={made}/broken.mid"], "none of 1 files can be read"),
        (["music={made}", "reference={made}/0.mid"], "has 1 readable pieces; allowed: 2 or more"),
        (["reference={made}"], "goes with music=FOLDER"),
        (["music={made}", "split=test"], "leave out split, or leave out music"),
        (
            ["music={made}", "judges=[forst]"],
            "judges=forst is unknown; did you mean forest?; allowed: forest, ",
        ),
        (["music={made}", "training={root}/nowhere"], "training={root}/nowhere does not exist"),
        (["music={made}", "training={made}/broken.mid"], "no file can be read; the first: "),
        (["training={made}"], "goes with music=FOLDER"),
        (["judges=[]"], "goes with music=FOLDER"),
        (["music={made}", "judges=[forest]"], "judges=['forest'] goes with reference=FOLDER"),
        (["music={made}", "metrics=[]"], "metrics=[] names none; leave it out for all"),
        (["music={made}", "bars=8"], "bars=8 goes with samples=N, and does nothing without it"),
        (["music={made}", "temperature=2"], "temperature=2.0 goes with samples=N or technical=true"),
        (["music={made}", "batch_sizes=[1]"], "batch_sizes=[1] goes with technical=true"),
        (["music={made}", "landscape_size=3"], "landscape_size=3 goes with landscape=FILE"),
        (["music={made}", "attention_bars=2"], "attention_bars=2 goes with attention=FILE"),
        (["music={made}", "compare=[a,b]"], "do not go together; leave one out"),
    ],
)
def test_mistakes_are_told_in_one_line(music: Path, capsys, arguments: list[str], message: str) -> None:
    places = {"made": music / "made", "root": music}
    assert run(*(argument.format(**places) for argument in arguments)) == app.FAILED
    error = capsys.readouterr().err
    assert message.format(**places) in error and error.count("error:") == 1
