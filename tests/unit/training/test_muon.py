"""Muon: matrices move equally far in every direction, everything else moves as under AdamW."""

from __future__ import annotations

import math

import torch
from torch.optim import AdamW

from aurl.models.config import ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.training.muon import ADAMW_UPDATE_SIZE, Muon, orthogonalise, parameter_groups

LR = 0.01


def test_orthogonalising_brings_all_singular_values_near_one_and_keeps_the_directions() -> None:
    torch.manual_seed(0)
    for shape in ((40, 16), (16, 40), (24, 24)):
        matrix = torch.randn(shape)
        result = orthogonalise(matrix)
        values = torch.linalg.svdvals(result)
        assert values.max() < 1.3
        assert values[: len(values) // 2].min() > 0.6
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        assert (left * result.mm(right.T)).sum() / len(values) > 0.6


def test_a_step_of_a_matrix_has_the_size_of_adamws() -> None:
    torch.manual_seed(1)
    matrix = torch.nn.Parameter(torch.randn(64, 32))
    before = matrix.detach().clone()
    optimizer = Muon([{"params": [matrix], "weight_decay": 0.0, "muon": True}], lr=LR, betas=(0.9, 0.98))
    matrix.grad = torch.randn(64, 32)
    optimizer.step()
    size = (matrix.detach() - before).square().mean().sqrt().item()
    assert math.isclose(size, LR * ADAMW_UPDATE_SIZE, rel_tol=0.25)
    assert matrix.grad is None


def test_other_parameters_move_exactly_as_under_adamw() -> None:
    torch.manual_seed(2)
    start, gradient = torch.randn(10, 4), torch.randn(10, 4)
    moved = []
    for make in (
        lambda p: Muon([{"params": [p], "weight_decay": 0.1, "muon": False}], lr=LR, betas=(0.9, 0.98)),
        lambda p: AdamW([p], lr=LR, betas=(0.9, 0.98), weight_decay=0.1, fused=True),
    ):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = make(parameter)
        for _ in range(3):
            parameter.grad = gradient.clone()
            optimizer.step()
        moved.append(parameter.detach())
    torch.testing.assert_close(*moved)


def test_groups_hold_every_parameter_once_and_only_vectors_do_not_decay() -> None:
    model = MusicTransformerVAEGAN(ModelConfig(hidden_dim=32, layers=1, heads=2), 50)
    blocks, matrices, vectors = parameter_groups(model, 0.1)
    assert blocks["muon"] and not matrices["muon"] and not vectors["muon"]
    together = [id(p) for group in (blocks, matrices, vectors) for p in group["params"]]
    assert sorted(together) == sorted({id(p) for p in model.parameters()})
    assert all(p.ndim == 2 for p in blocks["params"] + matrices["params"])
    assert vectors["weight_decay"] == 0.0 and len(vectors["params"]) == 3


def test_its_state_survives_saving() -> None:
    torch.manual_seed(3)
    steps = []
    for reload in (False, True):
        torch.manual_seed(3)
        matrix = torch.nn.Parameter(torch.randn(8, 8))
        groups = [{"params": [matrix], "weight_decay": 0.0, "muon": True}]
        optimizer = Muon(groups, lr=LR, betas=(0.9, 0.98))
        for step in range(4):
            if reload and step == 2:
                state = optimizer.state_dict()
                optimizer = Muon([{"params": [matrix], "weight_decay": 0.0, "muon": True}], lr=LR, betas=(0.9, 0.98))
                optimizer.load_state_dict(state)
            matrix.grad = torch.randn(8, 8)
            optimizer.step()
        steps.append(matrix.detach())
    assert torch.equal(*steps)


def test_matrices_of_one_shape_move_together_as_each_would_alone() -> None:
    torch.manual_seed(4)
    starts = [torch.randn(24, 16) for _ in range(3)] + [torch.randn(8, 16)]
    gradients = [[torch.randn_like(start) for start in starts] for _ in range(3)]

    def moved(groups: list[list[int]]) -> list[torch.Tensor]:
        matrices = [torch.nn.Parameter(start.clone()) for start in starts]
        for numbers in groups:
            chosen = [matrices[number] for number in numbers]
            optimizer = Muon([{"params": chosen, "weight_decay": 0.1, "muon": True}], lr=LR, betas=(0.9, 0.98))
            for step in gradients:
                for number in numbers:
                    matrices[number].grad = step[number].clone()
                optimizer.step()
        return [matrix.detach() for matrix in matrices]

    for together, alone in zip(moved([[0, 1, 2, 3]]), moved([[0], [1], [2], [3]]), strict=True):
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
