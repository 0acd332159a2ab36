"""HTML pages of the reports: no file beside them, no request to anywhere. The style is pages.css, charts are charts.py.

Every text may come from a file name and is escaped; what cannot be printed becomes a question mark.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Sequence
from importlib.resources import files

LONGEST_NAME = 160
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

Section = tuple[str, str, str]
"""Heading, anchor, body as HTML."""


def document(
    title: str, intro: str, sections: Sequence[Section], policy: str = POLICY, style: str = "", script: str = ""
) -> str:
    """A whole page, to be written as UTF-8.

    Args:
        title: heading of the page, plain text.
        intro: a sentence below it, as HTML.
        sections: in order; each gets a link at the top.
        policy: content security policy.
        style: CSS after that of all reports.
        script: JavaScript at the end.

    Example:
        >>> "<h2 id=a>A</h2>" in document("Report", "", [("A", "a", card("<p>1</p>"))])
        True
    """
    css = (files("aurl.utils") / "pages.css").read_text(encoding="utf-8") + style
    links = "".join(f"<a href=#{anchor}>{text(heading)}</a>" for heading, anchor, _ in sections)
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(title)}</title>",
            f"<style>{css}</style></head>",
            f"<body><header><h1>{text(title)}</h1><p class=intro>{intro}</p><nav>{links}</nav></header><main>",
            *(f"<h2 id={anchor}>{text(heading)}</h2>\n{body}" for heading, anchor, body in sections),
            "</main>" + (f"<script>{script}</script>" if script else "") + "</body></html>",
            "",
        )
    )


def printable(name: str) -> str:
    """A file name as text that can be written as UTF-8: bytes that are not UTF-8 become question marks."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def text(value: object) -> str:
    """Anything as text of an HTML page: printable and escaped."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in printable(str(value)))
    return html.escape(plain, quote=True)


def name_text(name: str) -> str:
    """The name of a file as text of an HTML page, its middle left out where it is very long."""
    half = LONGEST_NAME // 2
    return text(name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}")


def card(body: str, anchor: str = "") -> str:
    """A box of the page."""
    return f"<div class=card{f' id={anchor}' if anchor else ''}>{body}</div>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int], name: str) -> str:
    """A table of cells that are escaped already; the last column may be long.

    Args:
        heads: column heads, plain text.
        rows: cells as HTML.
        numbers: columns that hold numbers.
        name: of the table, for tests and scripts.
    """
    right = set(numbers)

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if i in right else ' class=files' if i == len(row) - 1 else ''}>{cell}</{tag}>"
            for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    head = cells([text(head) for head in heads], "th").replace(" class=files", "")
    return (
        f"<div class=scroll><table data-name={name}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
