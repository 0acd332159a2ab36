"""Routes of the training split: what else moves when a slider moves (aurl/generation/latent_routes.py).

    python -m experiments.latent.routes ckpt=CKPT out=FILE.npz [data=... data.path=...]

All bars of all training pieces are encoded; other keys are those of ``aurl-evaluate``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from aurl.cli.latent_routes import write_routes
from experiments.latent.setting import Setting, open_session

ALL = 1_000_000


def main() -> None:
    own = dict(argument.split("=", 1) for argument in sys.argv[1:] if argument.startswith(("ckpt=", "out=")))
    if set(own) != {"ckpt", "out"}:
        raise SystemExit(__doc__)
    rest = [argument for argument in sys.argv[1:] if argument.partition("=")[0] not in own]
    setting = Setting(open_session(own["ckpt"], [*rest, "split=train"]), ALL, 0, 64, 0)
    print(f"written: {write_routes(setting.tools, setting.encoded, Path(own['out']))}")


if __name__ == "__main__":
    main()
