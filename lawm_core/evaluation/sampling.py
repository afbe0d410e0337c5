"""How similar sampled actions are to inferred ones [LAWM Fig. S1]: the accuracy of a classifier that separates them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, mean_score, track, video_index


def measure_sampling(bench: Bench, progress: Progress) -> SuiteResult:
    """Measure `sampler_accuracy_prior` and `sampler_accuracy_learned`, one for each sampler of a family.

    Each is the accuracy, on held-out videos, of a classifier that distinguishes the sampler's actions from inferred
    ones. Lower is better: 0.5 is chance, and 1 means that every action is classified correctly.
    """
    _, state_BTND, names = bench.clips(2, bench.config.probe_windows)
    scores: list[Score] = []
    points: dict[str, dict[str, Tensor]] = {}
    for setting in track(bench.settings(bench.config.key_capacities), progress):
        bound, sampled = setting.bind(bench.model), {}
        with torch.no_grad():
            inferred_BA = bench.infer(state_BTND, setting)[:, 0]
            for name in bound.samplers:
                generator = Generator(state_BTND.device).manual_seed(bench.config.seed)
                sampled[name] = bound.sample_actions(state_BTND[:, 0], name, generator)
        for name, sampled_BA in sampled.items():
            accuracy_B = classifier_accuracy(inferred_BA, sampled_BA, names)
            scores.append(mean_score(f"sampler_accuracy_{name}", accuracy_B, names, setting))
        if setting.capacity in (bench.config.capacities[0], bench.config.capacities[-1]):
            points[str(setting)] = {"inferred": inferred_BA, **sampled}
    return SuiteResult(scores=scores, points=points)


def classifier_accuracy(inferred_BA: Tensor, sampled_BA: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return, for each clip, the fraction of its two actions that a classifier gets right, accuracy_B: 0, 0.5 or 1.

    The two are the clip's inferred and its sampled action. Each half of the videos is classified by a network that is
    trained on the other half. names: name of each clip's video.
    """
    half_B = video_index(names) % 2 == 0
    accuracy_B = torch.zeros(len(inferred_BA))
    for held_out in (half_B, ~half_B):
        x = torch.cat((inferred_BA[~held_out], sampled_BA[~held_out])).float()
        count = int((~held_out).sum())
        y = torch.cat((torch.ones(count), torch.zeros(count))).to(x.device)
        mean, std = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
        network = fit_classifier((x - mean) / std, y)
        with torch.no_grad():
            inferred, sampled = (
                network((action[held_out].float() - mean) / std)[:, 0] > 0 for action in (inferred_BA, sampled_BA)
            )
        accuracy_B[held_out] = (inferred.float() + (~sampled).float()).cpu() / 2
    return accuracy_B


def fit_classifier(x_XA: Tensor, y_X: Tensor, steps: int = 300) -> nn.Module:
    """Train a network with two hidden layers to predict the label y_X, 0 or 1, of each action x_XA; deterministic."""
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
