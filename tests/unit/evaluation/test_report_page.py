"""The report shows what its dicts say, leaves no name unescaped, asks nothing of the network, plays three examples."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from symusic import Note, Score, TimeSignature, Track

from aurl.evaluation.examples import choose_examples, criterion
from aurl.evaluation.folder import FolderReport, measure_tables
from aurl.evaluation.metrics.table import read_table
from aurl.evaluation.report_music import LARGEST_SHAPE, chart_data
from aurl.evaluation.report_page import cell, evaluation_page
from aurl.music.page import PageItem

NASTY = '<img src=x onerror="alert(1)">.mid'
QUIET = np.zeros((2, 4410), dtype=np.float32)


def tune(seed: int, stuck: bool = False, bars: int = 12) -> Score:
    rng = np.random.default_rng(seed)
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track()
    heights = 67 + np.clip(np.cumsum(rng.integers(-3, 4, bars * 8)), -12, 12)
    for index, height in enumerate(heights):
        track.notes.append(Note(index * 240, 240, 60 + index % 8 if stuck else int(height), 80))
    score.tracks.append(track)
    return score


NAMES = ["pitch", "melody", "structure", "note_density"]


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    return {NASTY: tune(1), "b.mid": tune(2), "c.mid": tune(3), "stuck.mid": tune(4, stuck=True, bars=24)}


@pytest.fixture(scope="module")
def measured(scores: dict[str, Score]) -> FolderReport:
    tables = {name: read_table(score) for name, score in scores.items()}
    theirs = {str(seed): read_table(tune(seed)) for seed in range(50, 58)}
    return measure_tables(tables, theirs, NAMES, {NASTY + "2": "no <notes>"})


COMPARISON: dict[str, Any] = {
    "distances": {
        "pitch_range": {
            "shift": -0.812,
            "shift_interval": [-1.2, -0.5],
            "energy": 0.7,
            "energy_interval": [0.4, 0.9],
            "p_holm": 0.004,
        }
    },
    "frechet": [
        {"features": "hand", "dimensions": 4, "infinity": 3.25, "interval": [3, 3.5], "null": [0.1, 0.4], "plain": 3.9}
    ],
    "judges": [
        {"judge": "forest", "accuracy": 0.61, "interval": [0.55, 0.67], "p_value": 0.01, "p_holm": 0.03, "null": 0.49}
    ],
    "copies": {
        "copied": 0.5,
        "human_copied": 0.01,
        "shared_melodies": 0.25,
        "human_shared_melodies": None,
        "human_is_held_out": True,
        "files": [
            {
                "path": "b.mid",
                "verdict": "original",
                "longest_run": 9,
                "similarity": 0.3,
                "nearest": None,
                "reasons": [],
            },
            {
                "path": NASTY,
                "verdict": "copied",
                "longest_run": 40,
                "similarity": 0.9,
                "reasons": ["40 notes"],
                "nearest": {"piece": "song 7"},
            },
        ],
    },
    "diversity": {"distinct": {"4": 0.8}, "reference_distinct": {"4": 0.9}, "duplicates": [["b.mid", NASTY]]},
    "left_out": {"judge lines": "too few"},
}


@pytest.fixture(scope="module")
def parts(measured: FolderReport) -> dict[str, Any]:
    likelihood = {
        "nats_per_note": 1.8264, "nats_per_beat": 6.5, "nats_per_second": None, "bound": False, "token_perplexity": 1.5,
        "notes": 400, "tokens": 2000, "pieces": 4, "beats": 100.0, "seconds": None,
        "by_type": [{"type": "pitch", "tokens": 400, "nats_per_token": 1.2, "nats_per_note": 1.2, "share": 0.66}],
        "by_token_index": [
            {"first": 2**i, "last": 2 ** (i + 1) - 1, "tokens": 100, "pieces": 4, "nats_per_token": 1 / (i + 1)}
            for i in range(5)
        ],
        "by_bar": [{"first": b, "last": b, "tokens": 100, "pieces": 4, "nats_per_token": 0.5} for b in range(3)],
        "by_context": [
            {"context": 64, "tokens": 900, "pieces": 3, "nats_per_token": 0.7, "excess": 0.1, "interval": [0.05, 0.15]},
            {"context": 512, "tokens": 900, "pieces": 3, "nats_per_token": 0.6, "excess": 0.0, "interval": [0.0, 0.0]},
        ],
        "piece_rows": [
            {"piece": f"{NASTY}{i}", "notes": 10, "nats_per_note": float(i), "nats_per_beat": None} for i in range(14)
        ],
    }  # fmt: skip
    speed = [
        {"batch_size": size, "tokens_per_second": 500.0 * size, "notes_per_second": 90.0 * size, "peak_cuda_mb": None,
         "samples_per_second": 2.0, "token_ms_p50": 2.0, "token_ms_p99": 3.0, "first_note_ms": 12.0,
         "cpu_tokens_per_second": 500.0, "peak_rss_mb": 300.0}
        for size in (1, 16)
    ]  # fmt: skip
    peer = [{"batch_size": 1, "tokens_per_second": 250.0, "cpu_tokens_per_second": 200.0}]
    stage = {"stage": "data", "what": NASTY, "seconds": 1.5, "start_mb": 90.0, "peak_mb": 120.0, "tree_mb": 240.0}
    return {
        "likelihood": likelihood,
        "music": {**measured.to_dict(), "comparison": COMPARISON},
        "charts": chart_data(measured),
        "technical": {
            "speed": speed, "peer": peer, "peer_name": "Peer", "stages": [{**stage, "peak_cuda_mb": None}],
            "size": {"parameters": 4_000_000, "weights_mb": 16.0, "checkpoint_mb": 48.0}, "what": "w", "machine": "m",
        },
        "something_new": {"files": {NASTY: {"verdict": "fine", "run": 7}, "b.mid": {"verdict": "odd"}}},
        "listening": [{"rater": NASTY, "score": 0.2, "curve": list(range(50))}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(parts: dict[str, Any], measured: FolderReport, scores: dict[str, Score]) -> str:
    items = [
        PageItem(scores[one.path], f"{one.role}: {one.path}", {"inside": one.share}, audio=QUIET)
        for one in choose_examples(measured)
    ]
    return evaluation_page(f"Run {NASTY}", f"intro {NASTY}", parts, items, criterion(measured))


class Reader(HTMLParser):
    """Collects tags, attributes, tables by name, and checks that tags are closed."""

    VOID = frozenset({"meta", "rect", "line", "path", "circle", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.cells: dict[str, list[list[str]]] = {}
        self._table = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = dict(attrs)["data-name"] or ""
            self.cells.setdefault(self._table, [])
        if tag == "tr":
            self.cells[self._table].append([])
        if tag in ("td", "th"):
            self.cells[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[self._table][-1][-1] += data


def test_the_page_is_well_formed_and_holds_every_section(page: str) -> None:
    reader = Reader(page)
    assert not reader.open
    anchors = {attributes.get("id") for tag, attributes in reader.tags if tag == "h2"}
    assert anchors >= {
        *("headline", "examples", "likelihood", "metrics", "distributions", "distances", "originality"),
        *("validation", "technical"),
    }
    assert re.findall(r"<h2 id=part-\d+>([^<]+)", page) == ["Something new", "Listening"]


def test_names_are_escaped_and_nothing_is_asked_of_the_network(page: str) -> None:
    reader = Reader(page)
    assert "<img" not in page and 'onerror="' not in page
    for tag, attributes in reader.tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("data:", "#")), (tag, attributes)
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page


def test_figures_are_those_of_the_dicts(page: str, parts: dict[str, Any]) -> None:
    cells = Reader(page).cells
    assert cells["likelihood"][1] == ["nats per note", "1.826"]
    assert cells["by-type"][1] == ["pitch", "400", "1.2", "1.2", "66.0 %"]
    assert cells["speed"][1][:3] == ["1", "500", "90"] and cells["peer"][1] == ["1", "250", "2.00", "2.50"]
    assert cells["stages"][1] == ["data", NASTY, "1.5", "90", "120", "240"]
    assert "on the GPU (MiB)" not in cells["speed"][0]
    rows = {row[0]: row for row in cells["metrics"][1:]}
    assert rows["pitch_range"][7:10] == ["-0.812", "0.7", "0.004"] and rows["step_share"][7] == "–"
    assert "-1.2 to -0.5" in page and "0.4 to 0.9" in page and "sees register" in rows["pitch_range"][10]
    assert [row[0] for row in cells["comparability"][1:]] == ["key_clarity", "note_density"]
    found = parts["music"]["metrics"]["pitch_range"]
    assert float(rows["pitch_range"][2]) == pytest.approx(found["mean"], rel=1e-2)
    assert rows["pitch_range"][6] == f"{100 * found['inside']:.0f} %"
    assert "3 of 4" in page and "1.826" in page and "4,000,000 parameters" in page


def test_failures_and_unread_files_are_listed_with_their_reasons(page: str) -> None:
    cells = Reader(page).cells
    ((name, reason),) = cells["failing"][1:]
    assert name == "stuck.mid" and "bars in a row repeat a loop" in reason
    assert cells["not-read"][1:] == [[NASTY + "2", "no <notes>"]]


def test_judges_distances_and_copies_are_shown_with_what_real_music_gives(page: str) -> None:
    cells = Reader(page).cells
    assert cells["judges"][1] == ["forest", "0.61", "0.55 to 0.67", "0.03", "0.49"]
    assert cells["frechet"][1] == ["hand", "4", "3.25", "3 to 3.5", "0.1 to 0.4", "3.9"]
    assert cells["left-out"][1:] == [["judge lines", "too few"]]
    assert [row[5] for row in cells["copies"][1:]] == [NASTY, "b.mid"]  # the copied one first
    assert cells["copies"][1][1:5] == ["40", "0.90", "song 7", "40 notes"]
    assert cells["diversity"][1] == ["different 4-grams", "80.0 %", "90.0 %"]
    assert "with all voices: 50.0 % of the pieces, 1.0 % of real music. Only a melody shared with it: 25.0 % of" in page
    assert "the pieces, – of real music." in page


def test_parts_that_nobody_knows_are_shown_as_tables(page: str) -> None:
    cells = Reader(page).cells
    assert cells["something_new"][1:] == [[NASTY, "fine", "7"], ["b.mid", "odd", "–"]]
    assert cells["listening"] == [["rater", "score"], [NASTY, "0.2"]]  # the long list is left to the JSON file


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (True, "yes"),
        (float("nan"), "–"),
        (0.12345, "0.123"),
        ([1, 2.5], "1 to 2.5"),
        (["a<", 3], "a&lt;, 3"),
    ],
)
def test_a_cell_shows_any_value(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_examples_are_the_best_the_median_and_the_worst(measured: FolderReport) -> None:
    chosen = choose_examples(measured)
    assert [one.role for one in chosen] == ["Best", "Median", "Worst"]
    assert chosen[-1].path == "stuck.mid" and chosen[-1].reasons  # whatever its metrics, it fails the validation
    styles = {file.path: file.style for file in measured.files}
    assert chosen[0].share == max(style for path, style in styles.items() if path != "stuck.mid")
    assert chosen[0].share >= chosen[1].share and "of the reference" in criterion(measured)


def test_without_a_reference_pieces_are_compared_with_each_other(scores: dict[str, Score]) -> None:
    tables = {name: read_table(score) for name, score in scores.items()}
    report = measure_tables(tables, {}, NAMES)
    chosen = choose_examples(report)
    assert len({one.path for one in chosen}) == 3 and all(0 <= one.share <= 1 for one in chosen)
    assert "of all pieces measured" in criterion(report)
    page = evaluation_page("t", "", {"music": report.to_dict(), "charts": chart_data(report)})
    assert "nothing says whether a value is usual" in page and "curve two" not in page.split("</style>")[1]
    alone = measure_tables({"b.mid": tables["b.mid"]}, {}, NAMES)
    assert [one.role for one in choose_examples(alone)] == ["Best"]
    assert chart_data(alone)["scalars"] == []


def test_histograms_are_shares_and_the_most_different_metric_comes_first(measured: FolderReport) -> None:
    charts = chart_data(measured)
    for chart in charts["scalars"]:
        assert sum(chart["ours"]) == pytest.approx(1) and sum(chart["reference"]) == pytest.approx(1)
    gaps = [chart["gap"] for chart in charts["scalars"]]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] >= 0 and gaps[0] <= 1
    assert {chart["name"] for chart in charts["shapes"]} >= {"pitch_class_distribution", "interval_distribution"}
    assert all(len(chart["ours"]) <= LARGEST_SHAPE for chart in charts["shapes"])


def test_a_bound_says_so_and_an_empty_report_says_that_nothing_was_measured() -> None:
    page = evaluation_page("t", "", {"likelihood": {"nats_per_note": 2.0, "bound": True, "pieces": 1}})
    assert page.count("upper bound") == 2
    assert "Nothing was measured" in evaluation_page("t", "", {})
