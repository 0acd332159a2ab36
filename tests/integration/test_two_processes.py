"""Two real processes on a CPU: what happens to one of them happens to both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import aurl

SMALL = (
    *("model=vae", "model.hidden_dim=16", "model.layers=1", "model.heads=2", "model.context=64"),
    *("model.encoder_layers=1", "model.latent_dim=8", "model.piece_latent_dim=4"),
    *("data=synth", "data.pieces=20", "data.valid_share=0.05", "data.batch_tokens=512", "data.workers=1"),
    *("logger=none", "callbacks.samples=null", "callbacks.early_stopping=null", "trainer.precision=32-true"),
    *("trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_steps=6", "trainer.val_check_interval=3"),
    *("trainer.enable_progress_bar=false"),
)


@pytest.mark.slow
def test_a_spoilt_loss_and_a_missing_validation_piece_of_one_process_keep_both_together(tmp_path: Path) -> None:
    search = os.pathsep.join([str(Path(__file__).parent), str(Path(aurl.__file__).parents[1])])
    command = [
        *(sys.executable, "-m", "aurl.cli.train", *SMALL, f"paths.cache={tmp_path}", f"paths.output={tmp_path}"),
        f"+callbacks.keep={{_target_:rank_parameters.KeepParameters,folder:{tmp_path}}}",
        "+callbacks.spoil={_target_:rank_parameters.SpoilLosses,rank:1,batches:[2,3]}",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]
    for mine in ranks:
        assert mine["skipped"] == 2 and mine["batches"] == 6
        assert mine["validation pieces"] == 1 and mine["validation"] > 0
    assert ranks[0]["validation"] == ranks[1]["validation"]
    for name, value in ranks[0]["parameters"].items():
        assert torch.isfinite(value).all() and torch.equal(value, ranks[1]["parameters"][name]), name
    said = done.stdout + done.stderr
    assert "batch 2 has a loss that is not finite in another process and was skipped" in said
