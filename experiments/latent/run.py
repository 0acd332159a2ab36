"""How far do latents reach? Use, reconstruction, steering, interpolation, editing and the cost in likelihood.

    python -m experiments.latent.run ckpt=CKPT [key=value ...]

Keys of its own (default): measures ([use,reconstruction,steering,interpolation,editing,bounds]), pieces (32), bars (64:
bars that are steered), batch_size (64), draws (16: of the bounds), middles (8: stretches reconstructed in the middle of
pieces), tries (1: of each bar that is steered), seed (0), json (results.json beside this file), flat (none: a
checkpoint whose reconstruction stands beside), plain (none: a transformer whose likelihood stands beside), routes
(none: a file of experiments.latent.routes or of ``aurl-latent routes`` that steering follows). All others are keys of
``aurl-evaluate``: split, data=..., paths.cache=...; without data it is the checkpoint's own corpus.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from aurl.generation.latent_routes import Routes
from experiments.latent import bounds, editing, interpolation, reconstruction, steering, use
from experiments.latent.setting import Row, Setting, open_session

MEASURES = ("use", "reconstruction", "steering", "interpolation", "editing", "bounds")
OWN = {"pieces": 32, "bars": 64, "batch_size": 64, "draws": 16, "middles": 8, "tries": 1, "seed": 0}
HEADS = ("what", "value", "goal", "met", "note")


def own_keys(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Keys of this command, and the rest."""
    names = {*OWN, "ckpt", "measures", "json", "flat", "plain", "routes"}
    own = {key: value for key, _, value in (argument.partition("=") for argument in arguments) if key in names}
    return own, [argument for argument in arguments if argument.partition("=")[0] not in names]


def main() -> None:
    own, rest = own_keys(sys.argv[1:])
    if "ckpt" not in own:
        raise SystemExit(__doc__)
    wanted = own.get("measures", ",".join(MEASURES)).strip("[]").split(",")
    if unknown := set(wanted) - set(MEASURES):
        raise SystemExit(f"measures={unknown.pop()} is unknown; allowed: {', '.join(MEASURES)}")
    numbers = {key: int(own.get(key, value)) for key, value in OWN.items()}
    setting = Setting(
        open_session(own["ckpt"], rest), *(numbers[key] for key in ("pieces", "bars", "batch_size", "seed"))
    )
    if "routes" in own:
        setting.tools.routes = Routes.load(Path(own["routes"]), setting.tools.fingerprint)
    detail: dict = {}
    rows: dict[str, list[Row]] = {}
    for name in wanted:
        begin = time.perf_counter()
        rows[name] = run(name, setting, numbers, own, rest, detail)
        print(f"\n{name} ({time.perf_counter() - begin:.0f} s)\n")
        print("| " + " | ".join(HEADS) + " |\n" + "| --- " * len(HEADS) + "|")
        for row in rows[name]:
            print("| " + " | ".join(row.cells()) + " |", flush=True)
    target = Path(own.get("json", Path(__file__).parent / "results.json"))
    found = {
        "checkpoint": Path(own["ckpt"]).name,
        "corpus": setting.session.corpus[0].name,
        "split": setting.session.split,
        "parameters": setting.tools.model.parameter_count,
        "machine": platform.processor() or platform.machine(),
        **numbers,
        **{name: [row.to_dict() for row in part] for name, part in rows.items()},
        **detail,
    }
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {target}")


def run(
    name: str, setting: Setting, numbers: dict[str, int], own: dict[str, str], rest: list[str], detail: dict
) -> list[Row]:
    """The lines of one measure."""
    if name == "use":
        return use.measure(setting)
    if name == "interpolation":
        return interpolation.measure(setting)
    if name == "editing":
        return editing.measure(setting)
    if name == "steering":
        found, detail["steering_matrix"] = steering.measure(setting, numbers["tries"])
        return found
    if name == "bounds":
        plain = open_session(own["plain"], rest).bundle.model.eval() if "plain" in own else None
        if plain is not None and plain.latent is not None:
            raise SystemExit(f"plain={own['plain']} has latents itself; name a model=transformer checkpoint")
        return bounds.measure(setting, numbers["draws"], plain)
    found = reconstruction.measure(setting, numbers["middles"])
    if "flat" in own:
        flat = Setting(open_session(own["flat"], rest), setting.pieces, setting.bars, setting.batch_size, setting.seed)
        found += [Row(row.what, row.value, note=row.note) for row in reconstruction.measure(flat, 0, ", flat")]
    return found


if __name__ == "__main__":
    main()
