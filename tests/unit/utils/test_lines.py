"""Curves and overlaid histograms: well-formed drawings whose points lie where the numbers are."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from aurl.utils.charts import TOP, chart_svg, nice_scale, short
from aurl.utils.lines import Line, lines_svg, overlay_svg
from aurl.utils.pages import card, document, table, text


def drawing(svg: str) -> ElementTree.Element:
    """The SVG as XML; attributes without quotes, as HTML allows them, get some."""
    inside = svg[svg.index("<svg") :]
    return ElementTree.fromstring(re.sub(r"class=(\w+)", r'class="\1"', inside))


def dots(svg: str) -> list[tuple[float, float]]:
    return [(float(dot.get("cx")), float(dot.get("cy"))) for dot in drawing(svg).iter("circle")]


def test_points_of_a_logarithmic_axis_lie_evenly_where_numbers_double() -> None:
    found = dots(lines_svg("t", [Line("a", [1, 2, 4, 8], [4.0, 3.0, 2.0, 1.0])], "x", "y"))
    steps = {round(right[0] - left[0], 1) for left, right in pairwise(found)}
    assert max(steps) - min(steps) <= 0.2 and [y for _, y in found] == sorted(y for _, y in found)
    straight = dots(lines_svg("t", [Line("a", [1, 2, 4, 8], [4.0, 3.0, 2.0, 1.0])], "x", "y", log_x=False))
    assert straight[2][0] - straight[1][0] == pytest.approx(2 * (straight[1][0] - straight[0][0]), abs=0.3)


def test_a_band_and_several_lines_have_colours_and_a_key() -> None:
    lines = [Line("one <x>", [1, 2], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5]), Line("other", [1, 2], [0.0, -1.0])]
    svg = lines_svg("t", lines, "x", "y")
    assert "one &lt;x&gt;" in svg and "<x>" not in svg
    classes = [path.get("class") for path in drawing(svg).iter("path")]
    assert classes == ["band one", "curve one", "curve two"]


@pytest.mark.parametrize("ys", [[0.0, 0.0], [5.0, 5.0], [-2.0, -2.0], [100.0, 101.0], [-0.001, 0.002], [3.0]])
def test_every_value_lies_inside_the_drawing(ys: list[float]) -> None:
    svg = lines_svg("t", [Line("a", [float(i + 1) for i in range(len(ys))], ys)], "x", "y")
    height = float(drawing(svg).get("viewBox").split()[3])
    assert all(TOP - 0.1 <= y <= height for _, y in dots(svg))


def test_values_far_from_zero_have_an_axis_near_them() -> None:
    (_, first), (_, second) = dots(lines_svg("t", [Line("a", [1, 2], [100.0, 101.0])], "x", "y"))
    assert first - second > 50


def test_bars_and_outline_have_the_heights_of_the_shares() -> None:
    svg = overlay_svg("t", ["0", "1", "2", "3"], [0.5, 0.0, 0.25], [0.2, 0.5, 0.3], edges=True)
    bars = list(drawing(svg).iter("rect"))
    heights = [float(bar.get("height")) for bar in bars]
    assert len(bars) == 2 and heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert bars[1].find("title").text == "2 to 3: 0.25, reference 0.3"
    assert [path.get("class") for path in drawing(svg).iter("path")] == ["curve two"]


def test_an_empty_histogram_and_one_without_reference_can_be_drawn() -> None:
    assert not list(drawing(overlay_svg("t", ["a", "b"], [0.0, 0.0], None)).iter("rect"))
    assert "path" not in overlay_svg("t", ["a", "b"], [0.3, 0.7], None)


def test_scales_are_round_and_counts_have_whole_steps() -> None:
    assert nice_scale(1.5) == (2.0, 1.0) and nice_scale(1.5, whole=False) == (1.5, 0.5)
    assert short(0.1234) == "0.123" and short(float("nan")) == "?"
    chart = {"name": "n", "title": "T", "shows": "s", "unit": "", "counts": "c", "kind": "bars"}
    assert "<rect" in chart_svg({**chart, "bins": [{"label": "a", "value": 0.2}]}, text)


def test_a_page_links_its_sections_and_escapes_what_it_is_given() -> None:
    body = card(table(["<head>", "n"], [[text("<i>"), "1"]], [1], "t"))
    page = document("A & <b>", "intro", [("One <1>", "one", body)], style=".x{}", script="go()")
    assert "<title>A &amp; &lt;b&gt;</title>" in page and "<a href=#one>One &lt;1&gt;</a>" in page
    assert "&lt;head&gt;" in page and "&lt;i&gt;" in page and "<i>" not in page
    assert "<script>go()</script>" in page and ".x{}" in page
    assert "script" not in document("A", "", [])
