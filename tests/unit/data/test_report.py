"""The data report tells the truth about a corpus, names the files behind it, and its page shows what its JSON says."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from score_strategies import make_score

from aurl.data.codec import Codec
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.crew import Failure
from aurl.data.prepare import prepare
from aurl.data.preprocessing import PreprocessConfig
from aurl.data.report import assemble, count_piece, make_report
from aurl.data.report_charts import SECTIONS
from aurl.data.report_duplicates import MOST_COMPARED, near_duplicates
from aurl.data.report_findings import findings
from aurl.data.report_measures import MEASURES, Measure, bin_edges, histogram, outliers, robust_scores
from aurl.data.report_page import FILES_SHOWN, report_page
from aurl.data.sources import list_pieces
from aurl.data.store import TokenStore
from aurl.music.limits import ReadLimits
from aurl.music.quantise import Quantise
from aurl.utils.charts import chart_svg, short
from aurl.utils.errors import AurlError
from aurl.utils.pages import name_text, text

TOKENIZER = TokenizerConfig()
SCRIPT = "<script>alert(1)<.mid"
IMAGE = 'x"onerror="alert(2)\'&.mid'


def melody(seed: int, bars: int = 8, program: int = 0, off_grid: bool = False):
    """A tune of its own: random steps in C major, quarters and eighths, with dynamics."""
    rng = np.random.default_rng(seed)
    scale = np.array([60, 62, 64, 65, 67, 69, 71, 72, 74, 76])
    onset, notes = 0.0, []
    while onset < 4 * bars:
        length = float(rng.choice([0.5, 1.0]))
        at = onset + (float(rng.uniform(0, 1)) if off_grid else 0.0)
        notes.append((at, length, int(rng.choice(scale)), int(rng.integers(50, 100))))
        onset += length
    return make_score([(program, notes)])


@dataclass
class Corpus:
    """A prepared corpus and what was planted in it."""

    store: TokenStore
    report: dict[str, Any]
    page: str

    def number(self, name: str) -> int:
        return next(i for i, piece in enumerate(self.report["pieces"]) if piece["id"] == name)

    def chart(self, name: str) -> dict[str, Any]:
        return next(chart for chart in self.report["charts"] if chart["name"] == name)

    def names(self, numbers: list[int]) -> list[str]:
        return [self.report["pieces"][number]["id"] for number in numbers]


def made(data: DataConfig, cache: Path) -> Corpus:
    """Prepared in workers, counted here."""
    store = prepare(data, TOKENIZER, cache, progress=False)
    pieces = {piece.id: piece for piece in list_pieces(data)}
    codec = Codec.from_config(TOKENIZER)
    report = assemble(store, [count_piece(pieces[record.id], codec) for record in store.pieces], data.name)
    return Corpus(store, report, report_page(report))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Fourteen tunes, among them a copy, a giant, a performance, drums, and four files with something wrong."""
    folder = tmp_path_factory.mktemp("mixed")
    for seed in range(10):
        melody(seed).dump_midi(folder / f"tune{seed}.mid")
    melody(3).shift_pitch(2).dump_midi(folder / "copy of 3.mid")
    melody(50, bars=2000).dump_midi(folder / "giant.mid")
    melody(60, bars=24, off_grid=True).dump_midi(folder / "played.mid")
    strokes = [(index / 2, 0.25, 36 + 2 * (index % 3), 90) for index in range(64)]
    make_score([(-1, strokes)], metres=((0, 7, 8),)).dump_midi(folder / "drums.mid")
    melody(70).shift_pitch(-55).dump_midi(folder / SCRIPT)
    clean = (folder / "tune1.mid").read_bytes()
    (folder / "wrapped.mid").write_bytes(b"junk" + melody_bytes(80, folder))
    (folder / "torn.mid").write_bytes(clean[:12])
    (folder / IMAGE).write_bytes(b"<html>")
    (folder / "also.mid").write_bytes(b"<html>")
    data = DataConfig(name="mixed & <b>matched</b>", source=Source.folder, path=str(folder), workers=1)
    return made(data, tmp_path_factory.mktemp("cache"))


def melody_bytes(seed: int, folder: Path) -> bytes:
    path = folder / "temporary.mid"
    melody(seed).dump_midi(path)
    data = path.read_bytes()
    path.unlink()
    return data


# --- truth ------------------------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_folder(mixed: Corpus):
    counts = mixed.report["counts"]
    assert (counts["all"]["pieces"], counts["all"]["skipped"], counts["all"]["repaired"]) == (16, 3, 1)
    assert len(mixed.report["pieces"]) == 16
    for name in ("pieces", "notes", "tokens"):
        assert sum(counts[split][name] for split in ("train", "valid", "test")) == counts["all"][name], name
    assert counts["all"]["tokens"] == int(mixed.store.offsets[-1])
    assert counts["all"]["hours"] == pytest.approx(sum(r.beats for r in mixed.store.pieces) / 2 / 3600, abs=0.01)


def test_files_left_out_are_listed_by_reason_and_repairs_by_kind(mixed: Corpus):
    quarantine = mixed.report["quarantine"]
    assert [group["count"] for group in quarantine] == [2, 1]
    assert quarantine[0]["reason"] == "no MIDI header (MThd) in it"
    assert {file["id"] for file in quarantine[0]["files"]} == {IMAGE, "also.mid"}
    assert quarantine[1]["files"][0]["id"] == "torn.mid"
    (repair,) = mixed.report["repairs"]
    assert (repair["kind"], repair["count"], mixed.names(repair["pieces"])) == (
        "bytes_before_header",
        1,
        ["wrapped.mid"],
    )


def test_reasons_that_differ_by_a_number_only_stand_together(mixed: Corpus):
    results = [Failure(f"reading it took {1000 * (n + 1):,} s") for n in range(len(mixed.store.pieces))]
    report = assemble(mixed.store, results, "none")
    assert report["quarantine"][0]["reason"] == "reading it took N s"
    assert report["quarantine"][0]["count"] == 16 and report["counts"]["all"]["skipped"] == 19


def test_what_was_fitted_to_the_vocabulary_names_its_pieces(mixed: Corpus):
    moved = {row["kind"]: mixed.names(row["pieces"]) for row in mixed.report["changes"]}
    assert moved["pitches_moved"] == [SCRIPT]


def test_a_planted_copy_is_listed_with_its_similarity(mixed: Corpus):
    (group,) = mixed.report["duplicates"]["groups"]
    assert set(mixed.names(group["pieces"])) == {"tune3.mid", "copy of 3.mid"}
    assert group["lowest"] == group["highest"] > 0.95
    assert mixed.report["duplicates"]["across"] == [] and len(group["splits"]) == 1


def test_a_planted_outlier_is_the_first_of_its_measure(mixed: Corpus):
    by_name = {measure["name"]: measure for measure in mixed.report["outliers"]}
    for name in ("beats", "bars", "seconds", "tokens"):
        assert mixed.names([by_name[name]["pieces"][0]["piece"]]) == ["giant.mid"], name
        assert by_name[name]["pieces"][0]["z"] > 3.5
    assert mixed.names([by_name["pitch_low"]["pieces"][0]["piece"]]) == [SCRIPT]
    assert mixed.names([found["piece"] for found in by_name["off_grid"]["pieces"]]) == ["played.mid"]
    assert not by_name["velocity"]["pieces"]


def test_every_piece_stands_behind_exactly_one_bar_of_a_histogram_or_has_no_value(mixed: Corpus):
    for chart in mixed.report["charts"]:
        behind = [number for bin_ in chart["bins"] for number in bin_["pieces"]]
        if chart["kind"] == "histogram":
            assert len(behind) == len(set(behind)) == 16 - chart["missing"], chart["name"]
            assert all(bin_["value"] == len(bin_["pieces"]) for bin_ in chart["bins"])
    assert mixed.chart("polyphony")["missing"] == 1  # the drums
    assert [chart["name"] for chart in mixed.report["charts"]] == [
        name for section, names in SECTIONS.items() if section != "Preprocessing" for name in names
    ]


def test_metres_keys_instruments_and_pitches_are_those_that_were_written(mixed: Corpus):
    def bars(name: str) -> dict[str, list[str]]:
        return {bin_["label"]: mixed.names(bin_["pieces"]) for bin_ in mixed.chart(name)["bins"]}

    assert bars("metres")["7/8"] == ["drums.mid"] and len(bars("metres")["4/4"]) == 15
    assert bars("programs")["Drums"] == ["drums.mid"] and len(bars("programs")["Acoustic Grand Piano"]) == 15
    assert bars("keys")["no pitches"] == ["drums.mid"]
    assert len(bars("declared_keys")["none given"]) == 16
    pitched = sum(bin_["value"] for bin_ in mixed.chart("pitches")["bins"])
    assert pitched == mixed.report["counts"]["all"]["notes"] - 64
    assert sum(bin_["value"] for bin_ in mixed.chart("pitch_classes")["bins"]) == pytest.approx(100, abs=0.1)


def test_what_to_worry_about_comes_first_and_points_to_its_place(mixed: Corpus):
    found = mixed.report["findings"]
    levels = [finding["level"] for finding in found]
    assert levels == sorted(levels, key=lambda level: level != "worry")
    sentences = " ".join(finding["text"] for finding in found)
    for expected in (
        "3 files (15.8%) could not be read and are left out.",
        "1 group of near-duplicates holds 1 piece too many",
        "1 piece of 16 looks performed",
        "16 pieces: too few",
    ):
        assert expected in sentences
    for finding in found:
        assert re.search(rf"id=[\"']?{finding['place']}[\"' >]", mixed.page), finding["place"]


def test_each_rule_has_its_sentence_and_is_silent_where_nothing_is_wrong(mixed: Corpus):
    plain = {
        "performed": False, "shifted": False, "metre_declared": True, "beats": 100.0, "notes": 10,
        "velocity_values": 9, "doubled": 0.0, "keys": ["G major"], "key": "G major", "split": "train",
    }  # fmt: skip
    amount = {"pieces": 30, "notes": 1, "tokens": 1, "hours": 1.0}
    empty = {"groups": [], "across": [], "extra": 0, "not_compared": 0}
    report = {
        "counts": {"all": amount | {"skipped": 0, "repaired": 0}, "train": amount, "valid": amount, "test": amount},
        "changes": [], "duplicates": empty, "outliers": [],
    }  # fmt: skip

    def said(**changed: Any) -> str:
        return " ".join(finding["text"] for finding in findings(report, [plain | changed] * 30))

    assert said() == ""
    assert "30 pieces are on a grid, but all notes lie beside the file's beats by one amount" in said(shifted=True)
    assert "30 pieces of 30 look performed" in said(performed=True)
    assert "mixed" not in said(performed=True)
    assert "30 pieces have no metre and count as 4/4." in said(metre_declared=False)
    assert "30 pieces are shorter than 8 beats." in said(beats=7.0)
    assert "30 pieces have one velocity throughout" in said(velocity_values=1)
    assert "In 30 pieces more than 20% of the notes are doubled." in said(doubled=0.5)
    assert "Key signatures say C major nearly everywhere" in said(keys=["C major"])
    lost = {**report, "changes": [{"kind": "notes_dropped", "count": 1306, "pieces": []}]}
    assert findings(lost, [plain] * 30)[0]["text"].startswith("1,306 notes have no token and are lost")


def test_a_near_duplicate_across_splits_is_listed_as_a_worry(tmp_path: Path):
    folder = tmp_path / "archive"
    (folder / "splits").mkdir(parents=True)
    lists = {"train": ["a", "b", "c"], "valid": ["d"], "test": ["e"]}
    for index, name in enumerate("abcde"):
        melody(index).dump_midi(folder / f"{name}.mid")
    melody(1).shift_pitch(-3).dump_midi(folder / "e.mid")  # b, in another key
    for split, names in lists.items():
        (folder / "splits" / f"{split}.txt").write_text("".join(f"{name}.mid\n" for name in names))
    rows = [json.dumps({"id": name, "path": f"{name}.mid"}) for name in "abcde"]
    (folder / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    corpus = made(DataConfig(name="torn", source=Source.archive, path=str(folder), workers=1), tmp_path / "cache")
    (pair,) = corpus.report["duplicates"]["across"]
    assert corpus.names([pair["a"], pair["b"]]) == ["b", "e"] and pair["similarity"] > 0.95
    assert corpus.report["duplicates"]["groups"][0]["splits"] == ["test", "train"]
    assert corpus.report["findings"][0]["text"].startswith("1 pair of near-duplicates lies in different splits")
    assert [row[1:] for row in Tables.of(corpus.page)["across"]] == [["b train", "e test"]]


def test_one_file_and_empty_splits_are_reported(tmp_path: Path):
    melody(0).dump_midi(tmp_path / "one.mid")
    data = DataConfig(name="one", source=Source.folder, path=str(tmp_path / "one.mid"), workers=1)
    corpus = made(data, tmp_path / "cache")
    worries = [finding["text"] for finding in corpus.report["findings"] if finding["level"] == "worry"]
    assert worries == [
        "The valid split is empty: training cannot choose its best checkpoint.",
        "The test split is empty: nothing is left to measure the model with.",
    ]
    assert corpus.report["charts"][0]["splits"]["test"]["median"] is None
    assert not any(measure["pieces"] for measure in corpus.report["outliers"])
    assert "<svg" in corpus.page and "none</td>" in corpus.page


def test_a_corpus_of_which_nothing_can_be_read_any_more_is_a_page_without_charts(mixed: Corpus):
    report = assemble(mixed.store, [Failure("gone")] * len(mixed.store.pieces), "gone")
    page = report_page(report)
    assert report["counts"]["all"]["pieces"] == 0 and "<svg" not in page and "Nothing to show." in page
    json.dumps(report, allow_nan=False)


def test_workers_count_what_this_process_counts_and_foreign_pieces_are_refused(mixed: Corpus):
    seen: list[tuple[int, int]] = []
    pieces = list_pieces(DataConfig(source=Source.folder, path=str(Path(mixed.store.pieces[0].path).parent)))
    report = make_report(mixed.store, pieces, mixed.report["name"], 1, lambda done, total: seen.append((done, total)))
    assert json.loads(json.dumps(report)) == json.loads(json.dumps(mixed.report))
    assert seen[-1] == (16, 16) and len(seen) == 16
    with pytest.raises(AurlError, match=r"is in the prepared corpus .* but not in the list of pieces"):
        make_report(mixed.store, pieces[1:], "x", 1)


def test_a_preprocessed_corpus_is_described_as_it_is_and_the_error_of_its_grid_is_told(tmp_path: Path):
    music = tmp_path / "music"
    music.mkdir()
    for seed in range(3):
        melody(seed, bars=24, off_grid=True).dump_midi(music / f"played{seed}.mid")
    data = DataConfig(source=Source.folder, path=str(music), workers=1)
    settings = PreprocessConfig(quantise=Quantise.sixteenths)
    store = prepare(data, TOKENIZER, tmp_path / "cache", progress=False, preprocess=settings)
    report = make_report(store, list_pieces(data), "played", 1, preprocess=settings)
    charts = {chart["name"]: chart for chart in report["charts"]}
    errors = [piece.facts["onset_error_mean_ms"] for piece in store.pieces]
    assert charts["onset_error_mean"]["summary"]["highest"] == pytest.approx(max(errors))
    assert min(errors) > 0
    assert charts["off_grid"]["summary"]["highest"] == pytest.approx(0.0)
    assert charts["off_grid_before"]["summary"]["lowest"] > 0.1
    assert report["preprocess"] == {"quantise": "sixteenths"}
    assert any(row["kind"] == "pieces_performed" for row in report["preprocessed"])
    said = [finding["text"] for finding in report["findings"]]
    assert any(line.startswith("Quantisation moved onsets by ") for line in said)
    page = report_page(report)
    assert "What preprocessing did" in page and "preprocess.quantise=sixteenths" in page
    json.dumps(report, allow_nan=False)


def test_a_corpus_that_was_not_preprocessed_says_nothing_of_it(mixed: Corpus):
    assert mixed.report["preprocess"] == {} and mixed.report["preprocessed"] == []
    assert not any(chart["section"] == "Preprocessing" for chart in mixed.report["charts"])
    assert "preprocessing did" not in mixed.page and "Quantisation" not in mixed.page


# --- arithmetic -------------------------------------------------------------------------------------------------------


values_of_any_size = st.lists(
    st.one_of(st.floats(0, 1), st.floats(0, 1e9), st.integers(0, 300).map(float)), min_size=1, max_size=40
)


@given(values_of_any_size, st.sampled_from(MEASURES))
def test_bins_hold_every_value_once_and_are_few(values: list[float], measure: Measure):
    values = [float(round(value)) for value in values] if measure.whole else values
    edges = bin_edges(np.array(values), measure)
    assert len(edges) >= 2 and (np.diff(edges) > 0).all() and len(edges) <= 25
    assert edges[0] <= min(values) and max(values) <= edges[-1]
    rows = [{measure.name: value, "split": "train"} for value in values]
    chart = histogram(measure, rows)
    for bin_ in chart["bins"]:
        last = bin_ is chart["bins"][-1]
        for number in bin_["pieces"]:
            assert bin_["low"] <= values[number] and (values[number] < bin_["high"] or last)
    assert sum(bin_["value"] for bin_ in chart["bins"]) == len(values)
    assert chart_svg(chart, text).count("<rect") == sum(bin_["value"] > 0 for bin_ in chart["bins"])


def test_one_giant_does_not_squeeze_all_others_into_one_bar():
    values = np.concatenate([np.random.default_rng(0).uniform(50, 500, 400), [1e6]])
    measure = next(measure for measure in MEASURES if measure.name == "beats")
    counts = [bin_["value"] for bin_ in histogram(measure, [{"beats": v, "split": "train"} for v in values])["bins"]]
    assert max(counts) < 150 and counts[-1] == 1


def test_robust_scores_are_those_of_the_normal_distribution_and_ignore_what_no_one_notices():
    plain = Measure("x", "", "", "", "")
    values = np.random.default_rng(0).normal(10, 2, 20_000)
    np.testing.assert_allclose(robust_scores(values, plain), (values - 10) / 2, atol=0.15)
    assert not robust_scores(np.full(20, 3.0), plain).any()
    nearly = np.append(np.full(50, 3.0), 3.001)
    assert robust_scores(nearly, plain)[-1] > 3.5
    assert robust_scores(nearly, Measure("x", "", "", "", "", least=1.0))[-1] < 0.01
    longer = Measure("x", "", "", "", "", log=True)
    scores = robust_scores(np.array([1.0, 2.0, 4.0, 8.0, 16.0]), longer)
    np.testing.assert_allclose(scores, -scores[::-1])


def test_seven_pieces_have_no_outlier_and_eight_may():
    measure = Measure("x", "", "", "", "")
    for others, found in ((6, 0), (7, 1)):
        rows = [{"x": 10 + 0.1 * i, "split": "train"} for i in range(others)] + [{"x": 1000, "split": "train"}]
        assert len(outliers(measure, rows)["pieces"]) == found


def test_of_a_giant_group_of_copies_only_some_are_compared_and_that_is_said():
    copies = [np.arange(20, dtype=np.uint64)] * (MOST_COMPARED + 30)
    splits = ["train"] * (MOST_COMPARED + 29) + ["test"]
    found = near_duplicates([*copies, None], [*splits, "train"])
    assert found["not_compared"] == 30 and found["extra"] == MOST_COMPARED + 29
    assert len(found["across"]) == MOST_COMPARED - 1  # the rare split is compared first
    assert len(found["groups"]) == 1


@pytest.mark.parametrize(
    ("value", "written"), [(0, "0"), (3.0, "3"), (0.25, "0.25"), (12345.6, "12,346"), (999.4, "999"), (-2.5, "-2.5")]
)
def test_numbers_are_short(value: float, written: str):
    assert short(value) == written


# --- the page ---------------------------------------------------------------------------------------------------------


class Tables(HTMLParser):
    """The cells of every table by its name, as text; and every tag and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.name = ""
        self.in_cell = False

    @classmethod
    def of(cls, page: str) -> dict[str, list[list[str]]]:
        parser = cls()
        parser.feed(page)
        return parser.rows

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "table":
            self.name = str(dict(attrs)["data-name"])
            self.rows[self.name] = []
        elif tag == "tr":
            self.rows[self.name].append([])
        elif tag == "td":
            self.rows[self.name][-1].append("")
            self.in_cell = True
        elif tag == "br" and self.in_cell:
            self.rows[self.name][-1][-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self.in_cell = False
        elif tag == "table":
            self.rows[self.name] = [row for row in self.rows[self.name] if row]

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[self.name][-1][-1] += data


def test_the_page_shows_what_the_json_says(mixed: Corpus):
    tables = Tables.of(mixed.page)
    report = mixed.report
    amounts = {row[0]: row[1:] for row in tables["counts"]}
    for name in ("pieces", "notes", "tokens", "hours"):
        assert amounts[name] == [short(report["counts"][split][name]) for split in ("train", "valid", "test", "all")]
    assert amounts["median length in beats"][-1] == short(mixed.chart("beats")["summary"]["median"])
    for chart in report["charts"]:
        bins = [bin_ for bin_ in chart["bins"] if bin_["value"]]
        assert [row[:2] for row in tables[chart["name"]]] == [[bin_["label"], short(bin_["value"])] for bin_ in bins]
        for row, bin_ in zip(tables[chart["name"]], bins, strict=True):
            shown = [f"{piece['id']} {piece['split']}" for piece in map(report["pieces"].__getitem__, bin_["pieces"])]
            assert row[2].split("\n")[: len(shown[:FILES_SHOWN])] == shown[:FILES_SHOWN]
    assert [row[:2] for row in tables["quarantine"]] == [
        [group["reason"], str(group["count"])] for group in report["quarantine"]
    ]
    assert [row[:2] for row in tables["repairs"]] == [["bytes before header", "1"]]
    assert len(tables["groups"]) == len(report["duplicates"]["groups"])
    for measure in report["outliers"]:
        rows = tables.get(f"outliers-{measure['name']}", [])
        assert [row[:2] for row in rows] == [
            [short(one["value"]), f"{one['z']:+.1f}"] for one in measure["pieces"][:10]
        ]
    for finding in report["findings"]:
        assert text(finding["text"]) in mixed.page


def test_names_of_files_and_of_the_corpus_are_escaped(mixed: Corpus):
    parser = Tables()
    parser.feed(mixed.page)
    assert not parser.tags & {"script", "b<", "img", "iframe", "link"}
    assert not any(name.startswith("on") for name in parser.attributes)
    assert "<script" not in mixed.page and 'onerror="' not in mixed.page
    assert "&lt;script&gt;alert(1)&lt;.mid" in mixed.page and "&lt;b&gt;matched&lt;/b&gt;" in mixed.page
    assert any(SCRIPT in row[2] for row in parser.rows["beats"])
    assert any(IMAGE in row[2] for row in parser.rows["quarantine"])


def test_nothing_is_asked_from_outside_the_page(mixed: Corpus):
    assert "default-src 'none'" in mixed.page
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bsrc\s*=\s*[\"']?[^x]", mixed.page.replace(IMAGE, ""))


def test_names_that_cannot_be_printed_become_question_marks_and_long_ones_are_cut_on_the_page():
    assert text("a\nb\u202e\x00c") == "a?b??c"
    assert text("caf\udce9") == "caf\ufffd"
    assert name_text("short.mid") == "short.mid"
    long = name_text("a" * 300 + "&.mid")
    assert len(long) < 180 and long.startswith("aaa") and long.endswith("a&amp;.mid") and "…" in long


def test_files_beyond_those_shown_are_counted(tmp_path: Path):
    report = {
        "name": "x", "pieces": [{"id": f"p{i}", "split": "train", "path": ""} for i in range(50)],
        "charts": [], "outliers": [], "findings": [], "quarantine": [], "repairs": [],
        "changes": [{"kind": "tracks_joined", "count": 70, "pieces": list(range(50))}],
        "duplicates": {"groups": [], "across": [], "extra": 0, "not_compared": 3},
    }  # fmt: skip
    from aurl.data import report_page as module

    assert "47 more" in module._changes(report) and "and 17 more in the JSON file" in module._changes(report)
    assert "3 pieces of very large groups" in module._duplicates(report)
    assert "Nothing stands out." in module._findings(report)


def test_only_the_pieces_that_where_leaves_are_counted(tmp_path: Path):
    for seed in range(4):
        melody(seed, program=40 * (seed == 2)).dump_midi(tmp_path / f"{seed}.mid")
    data = DataConfig(name="some", source=Source.folder, path=str(tmp_path), workers=1, where="notes > 0")
    everything = prepare(data, TOKENIZER, tmp_path / "cache", progress=False)
    longest = max(record.notes for record in everything.pieces)
    some = replace(data, where=f"notes == {longest}")
    store = prepare(some, TOKENIZER, tmp_path / "cache", progress=False)
    report = make_report(store, list_pieces(some), "some", 1)
    assert report["counts"]["all"]["pieces"] == len(report["pieces"]) == len(store.split(None)) < 4
    assert report["counts"]["all"]["notes"] == longest * len(report["pieces"])


def test_names_that_look_the_same_and_large_files_are_counted_as_they_were_prepared(tmp_path: Path):
    for number, name in enumerate((b"a\xfe.mid", b"a\xff.mid")):
        (tmp_path / os.fsdecode(name)).write_bytes(melody(number).dumps_midi())
    limits = ReadLimits(notation_bytes=1)
    (tmp_path / "tune.abc").write_text("X:1\nK:C\nCDEF GABc|")
    data = DataConfig(name="same", source=Source.folder, path=str(tmp_path), workers=1, limits=limits)
    store = prepare(data, TOKENIZER, tmp_path / "cache", progress=False)
    report = make_report(store, list_pieces(data), "same", 1, limits=limits)
    assert [piece["id"] for piece in report["pieces"]] == ["a\ufffd.mid", "a\ufffd.mid~2"]
    generous = replace(data, limits=ReadLimits(bytes=10**9, notation_bytes=10**9))
    store = prepare(generous, TOKENIZER, tmp_path / "cache", progress=False)
    assert make_report(store, list_pieces(data), "same", 1, limits=limits)["counts"]["all"]["pieces"] == 2
    assert make_report(store, list_pieces(data), "same", 1, limits=generous.limits)["counts"]["all"]["pieces"] == 3
