"""Sections of the report on the model and on generation: likelihood, and speed, size and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aurl.utils.charts import chart_svg, short
from aurl.utils.lines import Line, lines_svg
from aurl.utils.pages import card, name_text, table, text

Part = Mapping[str, Any]

PIECES_SHOWN = 5
"""Best and worst predicted pieces."""
FIGURES = (
    ("nats_per_note", "nats per note"),
    ("nats_per_beat", "nats per beat"),
    ("nats_per_second", "nats per second"),
    ("token_perplexity", "perplexity of tokens"),
)
IMPORTANCE = "importance_weighted"
"""Key of the importance-weighted estimate among the figures of a likelihood."""
AMOUNTS = ("pieces", "notes", "tokens", "beats", "seconds")
SPEED_COLUMNS = (
    ("batch_size", "pieces at once"),
    ("tokens_per_second", "tokens/s"),
    ("notes_per_second", "notes/s"),
    ("samples_per_second", "pieces/s"),
    ("token_ms_p50", "ms a token, p50"),
    ("token_ms_p99", "p99"),
    ("first_note_ms", "ms to the first note"),
    ("peak_rss_mb", "peak memory (MiB)"),
    ("peak_cuda_mb", "on the GPU (MiB)"),
)
STAGE_COLUMNS = (
    ("stage", "stage"),
    ("what", "what"),
    ("seconds", "seconds"),
    ("start_mb", "at its start (MiB)"),
    ("peak_mb", "peak (MiB)"),
    ("tree_mb", "with its children (MiB)"),
    ("peak_cuda_mb", "on the GPU (MiB)"),
)


def number(value: float | None) -> str:
    """A number in four digits; a dash for none."""
    return "–" if value is None else short(value)


def likelihood_section(part: Part) -> str:
    """Figures, kinds of tokens, places in the piece, context, single pieces."""
    bound = f" These are upper bounds: the model has latent variables{not_strict(part)}." if part.get("bound") else ""
    figures = [[name, f"{part[key]:.3f}"] for key, name in FIGURES if part.get(key) is not None]
    estimate = part.get(IMPORTANCE)
    for key, name in FIGURES:
        if estimate and estimate.get(key) is not None:
            figures.append([f"{name}, importance-weighted, {estimate['samples']} samples", f"{estimate[key]:.3f}"])
    words = f"<p>{text(importance_words(estimate))}</p>" if estimate else ""
    amounts = ", ".join(f"{number(part[key])} {key}" for key in AMOUNTS if part.get(key) is not None)
    body = card(
        f"<p>How well the model predicts this music; lower is better.{text(bound)} Measured on {text(amounts)}.</p>"
        + table(["", ""], figures, [1], "likelihood")
        + words
    )
    charts = [_types(part["by_type"])] if part.get("by_type") else []
    charts += [_curve(part, key, *words) for key, words in CURVES.items() if part.get(key)]
    charts += [_contexts(part["by_context"])] if part.get("by_context") else []
    body += f"<div class=charts>{''.join(charts)}</div>"
    return body + (_pieces(part["piece_rows"]) if part.get("piece_rows") else "")


def not_strict(part: Part) -> str:
    """For which pieces a bound is none in the strict sense, in words that go on from others; empty where for none."""
    cut, pieces = part.get("windowed_pieces", 0), part["pieces"]
    if not cut:
        return ""
    return (
        f"; not strictly for {cut} of {pieces} pieces, which are longer than the context: past its first window the "
        "encoder has read what follows the bars that are only past"
    )


def importance_words(estimate: Part) -> str:
    """What an importance-weighted estimate is, and how far it can be trusted, in a sentence or two."""
    few, windows = estimate["doubtful"], estimate["windows"]
    error = estimate["standard_error"]
    known = "" if error is None or 2 * few > windows else f"; standard error of the draws {error:.4f}"
    return (
        "importance-weighted: on average still an upper bound, but nearer to the likelihood than the bound of the same "
        f"draws ({estimate['bound_nats_per_note']:.4f} nats per note){known}; in {few} of {windows} windows fewer than "
        f"ten samples count (median {estimate['median_effective_samples']:.1f}): there it is hardly more than a bound"
    )


CURVES = {
    "by_token_index": (
        "Along the piece, in tokens",
        "first token of the bin",
        "A model that learns from the piece itself predicts later tokens better.",
        1,
    ),
    "by_bar": ("Along the piece, in bars", "first bar of the bin", "The first bar is bar 1.", 1),
}
"""Table -> heading, axis, remark, what is added so that the axis starts at 1."""


def _types(rows: Sequence[Part]) -> str:
    chart = {
        "name": "token_types", "title": "By kind of token", "kind": "bars", "unit": "", "counts": "nats per note",
        "shows": "Parts of nats per note; they add up to it.",
        "bins": [
            {"label": row["type"], "value": row["nats_per_note"]}
            for row in sorted(rows, key=lambda row: -row["nats_per_note"])
        ],
    }  # fmt: skip
    cells = [
        [text(row["type"]), f"{row['tokens']:,}", number(row["nats_per_token"]), number(row["nats_per_note"]),
         f"{100 * row['share']:.1f} %"]
        for row in rows
    ]  # fmt: skip
    listed = table(["kind", "tokens", "nats a token", "nats per note", "share"], cells, range(1, 5), "by-type")
    return card(
        f"<h3>{chart['title']}</h3><p class=soft>{chart['shows']}</p>{chart_svg(chart, text)}"
        f"<details><summary>Table</summary>{listed}</details>"
    )


def _curve(part: Part, key: str, heading: str, axis: str, remark: str, first: int) -> str:
    rows = part[key]
    shift = first - min(int(rows[0]["first"]), first)
    notes = [
        f"{row['first'] + shift} to {row['last'] + shift}: {row['nats_per_token']:.3f} "
        f"({row['tokens']:,} tokens of {row['pieces']} pieces)"
        for row in rows
    ]
    xs = [row["first"] + shift for row in rows]
    line = Line("nats a token", xs, [row["nats_per_token"] for row in rows], notes=notes)
    drawing = lines_svg(heading, [line], axis, "nats a token")
    return card(f"<h3>{heading}</h3><p class=soft>{remark} Later bins hold fewer pieces, and their ends.</p>{drawing}")


def _contexts(rows: Sequence[Part]) -> str:
    """What the same tokens cost with less past."""
    last = rows[-1]
    cut = rows[:-1]
    line = Line(
        "excess",
        [row["context"] for row in cut],
        [row["excess"] for row in cut],
        [row["interval"][0] for row in cut],
        [row["interval"][1] for row in cut],
        [
            f"{row['context']}: {row['excess']:+.4f} ({row['interval'][0]:+.4f} to {row['interval'][1]:+.4f})"
            for row in cut
        ],
    )
    drawing = lines_svg("Context", [line], "tokens of context", "more nats a token than with the whole context")
    return card(
        "<h3>With less of the past</h3><p class=soft>The same "
        f"{last['tokens']:,} tokens of {last['pieces']} pieces, predicted from a shorter past than {last['context']:,} "
        f"tokens ({last['nats_per_token']:.3f} nats a token). Above 0: the far past helps. Shaded: 95 % interval over "
        f"pieces.</p>{drawing}"
    )


def _pieces(rows: Sequence[Part]) -> str:
    """The pieces that are predicted best and worst."""
    chosen = list(rows) if len(rows) <= 2 * PIECES_SHOWN else [*rows[:PIECES_SHOWN], *rows[-PIECES_SHOWN:]]
    cells = [
        [number(row["nats_per_note"]), number(row["nats_per_beat"]), f"{row['notes']:,}", name_text(row["piece"])]
        for row in chosen
    ]
    left_out = len(rows) - len(chosen)
    rest = f"<p class=soft>{left_out:,} between them, in the JSON file.</p>" if left_out else ""
    listed = table(["nats per note", "nats per beat", "notes", "piece"], cells, range(3), "pieces")
    return card(f"<h3>Best and worst predicted pieces</h3>{listed}{rest}")


def technical_section(part: Part) -> str:
    """Speed by batch size beside a peer, size, memory of the stages."""
    body = ""
    if part.get("speed"):
        body += f"<div class=charts>{_speed_chart(part)}{_latency_chart(part['speed'])}</div>" + _speed_table(part)
    if part.get("size"):
        size = part["size"]
        body += card(
            f"<p>{size['parameters']:,} parameters; {size['weights_mb']:.1f} MiB of weights in memory, a file of "
            f"{size['checkpoint_mb']:.1f} MiB. {text(part.get('machine', ''))}</p>"
        )
    if part.get("stages"):
        lead = (
            "<p>Largest resident memory of each stage in a fresh process. The sum with children counts memory that "
            "processes share once for each.</p>"
        )
        body += card("<h3>Memory by stage</h3>" + lead + _columns(part["stages"], STAGE_COLUMNS, "stages"))
    return body


def _speed_chart(part: Part) -> str:
    rows, peer = part["speed"], part.get("peer") or []
    lines = [Line("aurl", [row["batch_size"] for row in rows], [row["tokens_per_second"] for row in rows])]
    if peer:
        name = str(part.get("peer_name", "peer"))
        lines.append(Line(name, [row["batch_size"] for row in peer], [row["tokens_per_second"] for row in peer]))
    return card("<h3>Throughput</h3>" + lines_svg("Throughput", lines, "pieces at once", "tokens a second"))


def _latency_chart(rows: Sequence[Part]) -> str:
    sizes = [row["batch_size"] for row in rows]
    lines = [
        Line("p50", sizes, [row["token_ms_p50"] for row in rows]),
        Line("p99", sizes, [row["token_ms_p99"] for row in rows]),
    ]
    return card(
        "<h3>Latency</h3>" + lines_svg("Latency", lines, "pieces at once", "ms from a token of a piece to its next")
    )


def _speed_table(part: Part) -> str:
    lead = f"<p>{text(part.get('what', ''))}</p>"
    body = _columns(part["speed"], SPEED_COLUMNS, "speed")
    if part.get("peer"):
        ours = {row["batch_size"]: row for row in part["speed"]}
        cells = [
            [str(row["batch_size"]), short(row["tokens_per_second"]),
             f"{ours[row['batch_size']]['tokens_per_second'] / row['tokens_per_second']:.2f}",
             f"{ours[row['batch_size']]['cpu_tokens_per_second'] / row['cpu_tokens_per_second']:.2f}"]
            for row in part["peer"]
        ]  # fmt: skip
        heads = ["pieces at once", f"{part.get('peer_name', 'peer')}, tokens/s", "aurl / peer", "by CPU time"]
        body += "<h3>Beside the peer</h3>" + table(heads, cells, range(4), "peer")
    return card(lead + body)


def _columns(rows: Sequence[Part], columns: Sequence[tuple[str, str]], name: str) -> str:
    """Chosen keys of rows; columns without a value are left out."""
    shown = [(key, head) for key, head in columns if any(row.get(key) is not None for row in rows)]
    cells = [
        [text(row[key]) if isinstance(row.get(key), str) else number(row.get(key)) for key, _ in shown] for row in rows
    ]
    numbers = [i for i, (key, _) in enumerate(shown) if not isinstance(rows[0].get(key), str)]
    return table([head for _, head in shown], cells, numbers, name)
