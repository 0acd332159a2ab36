"""The rate-distortion curve: what latents cost against what tokens cost once latents are known.

    python -m experiments.latent.curve POINT.json [POINT.json ...] output=curve.png

Each POINT is what ``experiments.latent.run measures=[bounds,use] json=POINT.json`` wrote, its file name the name of the
point. Along a line of constant ELBO the distortion falls by what the rate rises by; the plain transformer's likelihood
is such a line, and no point can lie below the true one's (Alemi et al. 2018, arXiv:1711.00464).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.latent.bounds import DISTORTION, PLAIN, RATE


def read(file: Path) -> dict[str, float]:
    """The values of a point by the names of its rows."""
    found = json.loads(file.read_text(encoding="utf-8"))
    return {row["what"]: row["value"] for part in ("bounds", "use") for row in found.get(part, ())}


def draw(points: dict[str, dict[str, float]], plain: float | None, target: Path) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for name, point in sorted(points.items(), key=lambda item: item[1][RATE]):
        axes.plot(point[RATE], point[DISTORTION], "o")
        axes.annotate(name, (point[RATE], point[DISTORTION]), textcoords="offset points", xytext=(6, 6))
    if plain is not None:
        axes.plot([0, plain], [plain, 0], "--", label=f"plain transformer, {plain:.3f} in all")
        axes.legend()
    axes.set(xlabel="rate: nats a note for latents", ylabel="distortion: nats a note for tokens given latents")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    figure.savefig(target, dpi=120)


def main() -> None:
    target = Path(next((each[7:] for each in sys.argv[1:] if each.startswith("output=")), "curve.png"))
    files = [Path(each) for each in sys.argv[1:] if not each.startswith("output=")]
    if not files:
        raise SystemExit(__doc__)
    points = {file.stem: read(file) for file in files}
    if lacking := [name for name, point in points.items() if RATE not in point]:
        raise SystemExit(f"{', '.join(lacking)}: no bounds inside; write them with measures=[bounds,use]")
    names = list(dict.fromkeys(name for point in points.values() for name in point))
    print("| | " + " | ".join(points) + " |\n" + "| --- " * (len(points) + 1) + "|")
    for name in names:
        cells = (f"{point[name]:.4g}" if point.get(name) is not None else "" for point in points.values())
        print(f"| {name} | " + " | ".join(cells) + " |")
    draw(points, next((point[PLAIN] for point in points.values() if PLAIN in point), None), target)
    print(f"\nwritten: {target}")


if __name__ == "__main__":
    main()
