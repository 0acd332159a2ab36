"""data.where: what can be said, what is refused in one line, and that unknown values behave."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from aurl.data.manifest import Manifest, ManifestWriter
from aurl.data.records import PieceRecord
from aurl.data.where import Field, WhereError, check_where, compile_where

ODD = {'said "so"': 5, "back\\slash": "yes", "it's": 6, "a.b[0]": 7, 'both "\\"': ["x", "y"], '"': 8, "\\": 9}
"""Names that mean something in SQL or in JSON paths."""


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    rows = [
        {"composer": "Bach", "meter": "3/4", "tempo": 96, "title": "Fugue in C", "tags": ["a", "b"], "opus one": 3},
        {"composer": "Bach", "meter": "4/4", "tempo": 120.5, "title": "100% Prelude", "live": True},
        {"composer": "O'Carolan", "meter": "6/8", "title": "A_B", "mixed": "x"},
        {"key": "F# minor", "keys": ["F# minor"], "mixed": 4, "tempo": float("nan"), **ODD},
    ]
    with ManifestWriter(tmp_path / "m.sqlite") as writer:
        for number, metadata in enumerate(rows):
            facts = {"programs": [number, 40], "polyphony": number / 2, "error": 0.5 * number}
            writer.add(PieceRecord(f"p{number}", "", 100 * number, 1.0, 10, 60, -1, 1, metadata, "x/y.mid", facts))
        writer.finish(["train"] * 4)
    return Manifest(tmp_path / "m.sqlite")


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("composer == 'Bach' and meter == '3/4'", [0]),
        ("composer == 'Bach' and metre == '3/4'", [0]),
        ("composer != 'Bach'", [2, 3]),
        ("not composer == 'Bach'", [2, 3]),
        ('composer == "O\'Carolan"', [2]),
        ("composer is None", [3]),
        ("composer is not null and not (notes >= 200)", [0, 1]),
        ("tempo > 100", [1]),
        ("not tempo > 100", [0, 2, 3]),
        ("90 <= tempo < 120", [0]),
        ("notes == 0 or notes == 300", [0, 3]),
        ("meter in ['3/4', '6/8']", [0, 2]),
        ("meter not in ('3/4', '6/8')", [1, 3]),
        ("meter in [None, '3/4']", [0, 3]),
        ("meter not in [None, '3/4']", [1, 2]),
        ("tempo in [null]", [2, 3]),
        ("tempo in (96, None, 120.5)", [0, 1, 2, 3]),
        ("meter in []", []),
        ("contains(title, 'FUGUE')", [0]),
        ("contains(title, '100%')", [1]),
        ("contains(title, '_')", [2]),
        ("like(title, '%in_C')", [0]),
        ("'elude' in title", [1]),
        ("2 in programs", [2]),
        ("40 in programs and 'b' in tags", [0]),
        ("live", [1]),
        ("not live == true", [0, 2, 3]),
        ("field('opus one') == 3", [0]),
        ("mixed == 4 or mixed == 'x'", [2, 3]),
        ("polyphony < 0.9 and error > -1", [0, 1]),
        ("key == 'F# minor'", [3]),
        ("split == 'train' and path == 'x/y.mid'", [0, 1, 2, 3]),
        ("composer == None", [3]),
        ("key in keys", [3]),
        ("composer == genre", []),
        ("composer != genre", [0, 1, 2, 3]),
        ("title == title", [0, 1, 2]),
        ("notes < 99999999999999999999999", [0, 1, 2, 3]),
        ("notes < -" + "9" * 400, []),
        ("title == '\\udce9'", []),
        ("id == 'p1'", [1]),
    ],
)
def test_what_can_be_said(manifest: Manifest, where: str, numbers: list[int]) -> None:
    assert manifest.select(where).tolist() == numbers


@pytest.mark.parametrize("name", list(ODD))
def test_a_field_of_any_name_can_be_asked_for(manifest: Manifest, name: str) -> None:
    value = ODD[name]
    asked = f"field({name!r})"
    condition = f"'y' in {asked}" if isinstance(value, list) else f"{asked} == {value!r}"
    assert manifest.select(condition).tolist() == [3]
    assert manifest.select(f"{asked} is None").tolist() == [0, 1, 2]
    assert manifest.select(f"{asked} in [None]").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "compser == 'Bach'",
            "there is no field 'compser'; did you mean composer\\? fields: .*, beats, .*, composer, ",
        ),
        ("composer = 'Bach'", r"cannot be read .*equality is written =="),
        ("composer == ", "cannot be read"),
        ("notes == 'many'", "compares a number with text"),
        ("programs == 3", "compares a list; write for instance: 40 in programs"),
        ("'a' in notes", "looks into a number"),
        ("__import__('os').system('true')", r"is no comparison; allowed"),
        ("notes == open('x')", r"calls open; allowed: contains, like, field"),
        ("notes + 1 == 2", "is neither a field nor a text or number"),
        ("contains(title)", r"is not contains\(field, 'text'\)"),
        ("(lambda: 1)() == 1", "is neither a field"),
        ("notes == " + "9" * 3000, "has 3009 characters; allowed: 2000"),
        ("(" * 900 + "1" + ")" * 900, "cannot be read"),
        ("notes.x == 1", "is neither a field"),
    ],
)
def test_what_cannot_is_refused_in_one_line(manifest: Manifest, where: str, message: str) -> None:
    with pytest.raises(WhereError, match=message) as caught:
        manifest.select(where)
    assert "\n" not in str(caught.value)


def test_the_form_is_checked_before_the_fields_are_known() -> None:
    check_where("anything == 'x' and 3 in whatever")
    with pytest.raises(WhereError, match="cannot be read"):
        check_where("anything == ")


@pytest.mark.parametrize("text", ["'; DROP TABLE pieces; --", '" OR 1=1 --', "%", "?"])
def test_texts_are_parameters_and_never_sql(manifest: Manifest, text: str) -> None:
    sql, parameters = compile_where(f"title == {text!r}", {"title": Field("title", "text")})
    assert text not in sql or (text == "?" and parameters == [text])
    assert manifest.select(f"title == {text!r}").tolist() == []
    assert len(manifest.query("SELECT * FROM pieces")) == 4


def test_a_manifest_is_never_written_to(manifest: Manifest) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        manifest.query("DELETE FROM pieces")
