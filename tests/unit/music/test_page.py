"""The page: self-contained, small, with sound, roll and MIDI of every sample."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import symusic

from aurl.music.page import PageItem, html_page, seconds_at
from aurl.utils.errors import AurlError

TICKS = 480


def make_score(notes=((0, 1, 60), (1, 2, 64)), drums: bool = False, tempos=((0, 120),)) -> symusic.Score:
    score = symusic.Score(TICKS)
    for time, qpm in tempos:
        score.tempos.append(symusic.Tempo(int(time * TICKS), qpm))
    track = symusic.Track("", 0, drums)
    for time, duration, pitch in notes:
        track.notes.append(symusic.Note(int(time * TICKS), int(duration * TICKS), pitch, 90))
    score.tracks.append(track)
    return score


class Elements(HTMLParser):
    """Collects start tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def elements(page: str) -> Elements:
    parser = Elements()
    parser.feed(page)
    return parser


@pytest.fixture(scope="module")
def page() -> str:
    quiet = np.zeros((2, 44100), dtype=np.float32)
    return html_page(
        [
            PageItem(make_score(), "First <one>", {"seed": 7}, audio=quiet, file_stem="sample_001"),
            PageItem(make_score(((0, 1, 36), (1, 1, 38)), drums=True), "Second", audio=quiet),
        ],
        'Chorales & "more"',
        intro="as drawn",
    )


def test_nothing_outside_the_page_is_asked_for(page):
    parsed = elements(page)
    assert not parsed.of("link")
    for _, attributes in parsed.found:
        for name in ("src", "href", "action", "poster", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", page)
    policy = next(m["content"] for m in parsed.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_sample_has_a_player_a_roll_and_its_midi(page):
    parsed = elements(page)
    assert len(parsed.of("article")) == len(parsed.of("audio")) == len(parsed.of("svg")) == 2
    link = parsed.of("a")[0]
    assert link["download"] == "sample_001.mid"
    midi = base64.b64decode(str(link["href"]).split(",")[1])
    again = symusic.Score.from_midi(midi)
    assert [(n.time, n.duration, n.pitch) for n in again.tracks[0].notes] == [(0, TICKS, 60), (TICKS, 2 * TICKS, 64)]


def test_the_sound_in_the_page_is_the_score_when_none_is_given():
    source = elements(html_page([PageItem(make_score(), "a")], "b")).of("audio")[0]["src"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(str(source).split(",")[1])))
    assert np.abs(samples).max() > 0.3
    assert 1.4 < len(samples) / rate < 5


def test_text_is_escaped_and_facts_are_shown(page):
    assert "First &lt;one&gt;" in page
    assert "<one>" not in page
    assert "Chorales &amp; &quot;more&quot;" in page
    assert "seed <b>7</b>" in page
    for fact in ("<b>1</b> bars", "<b>2</b> notes", "<b>1.5</b> seconds", "<b>1</b> track"):
        assert fact in page
    assert "Snare" in page


def test_every_note_is_drawn_where_it_sounds():
    score = make_score(((0, 1, 60), (4, 2, 67)), tempos=((0, 120), (4, 60)))
    parsed = elements(html_page([PageItem(score, "a", audio=np.zeros((1, 4410), np.float32))], "b"))
    svg = parsed.of("svg")[0]
    left, scale = float(str(svg["data-left"])), float(str(svg["data-scale"]))
    notes = [a for a in parsed.of("rect") if a.get("class") == "n"]
    starts = [(float(str(note["x"])) - left) / scale for note in notes]
    lengths = [float(str(note["width"])) / scale for note in notes]
    assert starts == pytest.approx([0.0, 2.0], abs=0.01)
    assert lengths == pytest.approx([0.5, 2.0], abs=0.01)


def test_seconds_follow_the_tempo_map_as_symusic_does():
    score = make_score(((0, 1, 60), (3, 1, 60), (9, 3, 60)), tempos=((0, 90), (2, 60), (7, 200)))
    timed = score.to("second").tracks[0].notes
    expected = [note.time for note in timed] + [timed[-1].time + timed[-1].duration]
    assert seconds_at(score, np.array([0.0, 3.0, 9.0, 12.0])) == pytest.approx(expected, abs=1e-3)
    assert seconds_at(make_score(tempos=()), np.array([2.0])) == pytest.approx([1.0])


def test_eight_chorales_of_sixteen_bars_stay_below_ten_megabytes():
    voices = [(beat, 1, pitch + beat % 5) for beat in range(64) for pitch in (40, 50, 60, 70)]
    page = html_page([PageItem(make_score(voices, tempos=((0, 60),)), f"Sample {i}") for i in range(2)], "b")
    assert 4 * len(page.encode()) < 10_000_000


def test_a_page_that_would_grow_too_large_leaves_players_out(monkeypatch):
    monkeypatch.setattr("aurl.music.page.AUDIO_BUDGET_BYTES", 3000)
    quiet = np.zeros((1, 4410), np.float32)
    page = html_page([PageItem(make_score(), "a", audio=quiet) for _ in range(20)], "b")
    players = len(elements(page).of("audio"))
    assert 0 < players < 20
    assert page.count("no player") == 20 - players


def test_long_music_keeps_its_width_to_be_scrolled():
    long = make_score([(4 * bar, 4, 60) for bar in range(60)])
    short = make_score()
    for score, width in ((long, "2760"), (short, "100%")):
        item = PageItem(score, "a", audio=np.zeros((1, 4410), np.float32))
        assert elements(html_page([item], "b")).of("svg")[0]["width"] == width


def test_no_samples_and_no_notes_are_refused():
    with pytest.raises(AurlError, match="at least one score"):
        html_page([], "a")
    with pytest.raises(AurlError, match="Empty: the score has no notes"):
        html_page([PageItem(make_score(()), "Empty", audio=np.zeros((1, 4410), np.float32))], "a")
