"""Do sampled actions look like inferred ones? Each family's own sampler, as the paper's, and the learned one.

A classifier is asked to tell them apart on videos that it was not fitted on: 0.5 is perfect sampling, 1.0 is none.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from lawm_core.evaluation.bench import Bench, Setting
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, bootstrap


def measure_sampling(bench: Bench, progress: Progress) -> SuiteResult:
    """`told_apart_prior`, `told_apart_learned`: accuracy of the classifier for each sampler."""
    _, state_BTND, names = bench.clips(2, bench.config.latents)
    scores: list[Score] = []
    points: dict[str, dict[str, Tensor]] = {}
    settings = list(bench.settings(bench.config.ends))
    for i, setting in enumerate(settings):
        progress(i / len(settings), f"{setting.family} at {setting.capacity}")
        with torch.no_grad():
            inferred_BA = bench.infer(state_BTND, setting)[:, 0]
            sampled = draw_samples(bench, state_BTND[:, 0], setting)
        for name, sampled_BA in sampled.items():
            right_B = told_apart(inferred_BA, sampled_BA, names)
            mean, low, high = bootstrap(
                lambda w_RB, right_B=right_B: (w_RB * right_B).sum(dim=1) / w_RB.sum(dim=1), len(right_B), names
            )
            scores.append(Score(name=f"told_apart_{name}", mean=mean, low=low, high=high, **setting.where()))
        if setting.capacity in (bench.config.capacities[0], bench.config.capacities[-1]):
            points[f"{setting.family} at capacity {setting.capacity:g}"] = {"inferred": inferred_BA, **sampled}
    return SuiteResult(scores=scores, points=points)


def draw_samples(bench: Bench, state_BND: Tensor, setting: Setting) -> dict[str, Tensor]:
    """An action for each state from each sampler there is."""
    out = {}
    for sampler in bench.model.samplers(setting.family):
        generator = Generator(state_BND.device).manual_seed(bench.config.seed)
        out[sampler] = bench.model.sample_actions(
            state_BND, sampler=sampler, generator=generator, **setting.arguments()
        )
    return out


def told_apart(real_BA: Tensor, made_BA: Tensor, names: tuple[str, ...]) -> Tensor:
    """For each clip the share of its two latents that a small network names rightly, fitted on other videos, (B,)."""
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    half_B = torch.tensor([order[name] % 2 == 0 for name in names])
    right_B = torch.zeros(len(real_BA))
    for held in (half_B, ~half_B):
        x = torch.cat((real_BA[~held], made_BA[~held])).float()
        y = torch.cat((torch.ones((~held).sum()), torch.zeros((~held).sum()))).to(x.device)
        mean, std = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
        network = fit_classifier((x - mean) / std, y)
        with torch.no_grad():
            real, made = (network((a[held].float() - mean) / std)[:, 0] > 0 for a in (real_BA, made_BA))
        right_B[held] = (real.float() + (~made).float()).cpu() / 2
    return right_B


def fit_classifier(x_XA: Tensor, y_X: Tensor, steps: int = 300) -> nn.Module:
    """Two hidden layers, AdamW, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(x_XA.shape[1], 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 1)
        ).to(x_XA.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    for _ in range(steps):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x_XA)[:, 0], y_X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network
