"""The loss of inverse dynamics, bottleneck and world model."""

from dataclasses import replace

import pytest
import torch

from lawm_core.batch_slice import WHOLE_BATCH
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig, generated_loss
from tests.training.toy_stages import CPU, FAMILIES, PAIRS, build_model, draw

WEIGHTED = ("flow", "visibility", "generated", "cycle")


def build_loss(family: str = "noisy", **changes: object) -> LatentActionLoss:
    return LatentActionLoss(build_model(shaken=True), LatentActionLossConfig(family=family, **changes))


@pytest.mark.parametrize(("frames", "single_frame_fraction"), [(2, 0.0), (5, 0.0), (5, 1.0)])
@pytest.mark.parametrize("family", FAMILIES)
def test_actions_and_world_model_learn_from_any_length_and_context(family, frames, single_frame_fraction):
    loss = build_loss(family, single_frame_fraction=single_frame_fraction)
    loss.trained().train()
    losses = loss.losses(draw(replace(PAIRS, frames=frames)), 1.0)
    losses["loss"].backward()
    weighted = sum(getattr(loss.config, name) * losses[name] for name in WEIGHTED)
    torch.testing.assert_close(losses["loss"], losses["error"] + losses["cost"] + weighted)
    parts = loss.family.inverse_dynamics.action_readout, loss.family.world_model
    for module in (
        parts[0].action_gain,
        parts[0].out,
        parts[1].action_gain,
        parts[1].token_motion,
        parts[1].correction,
    ):
        assert all(weight.grad.abs().sum() > 0 for weight in module.parameters())


def test_only_the_family_is_trained():
    loss = build_loss()
    loss.losses(draw(), 0.5)["loss"].backward()
    trained = {name for name, weight in loss.model.named_parameters() if weight.grad is not None}
    assert trained and all(name.startswith("families.noisy.") for name in trained)


def test_cycle_loss_has_a_gradient_through_the_prediction():
    """The action is inferred from a predicted state, so its world model must learn from the way back."""
    loss = build_loss(single_frame_fraction=1.0)
    torch.manual_seed(0)
    losses = loss.losses(draw(), 0.5)
    gradient = torch.autograd.grad(losses["cycle"], loss.family.world_model.token_motion.weight)[0]
    assert losses["cycle"] > 0 and gradient.abs().max() > 0
    source_BTND = torch.randn(2, 3, 16, 64)
    predicted_BUND = torch.randn(2, 2, 16, 64, requires_grad=True)
    loss.cycle_loss(source_BTND, source_BTND, predicted_BUND, torch.ones(2), WHOLE_BATCH).backward()
    assert predicted_BUND.grad[:, 0].abs().max() > 0 and predicted_BUND.grad[:, 1].abs().max() == 0


def test_cost_of_the_bottleneck_rises_over_the_warm_up():
    loss = build_loss(warm_up=0.5)
    costs = []
    for progress in (0.0, 0.25, 0.48, 1.0):
        torch.manual_seed(0)
        costs.append(loss.losses(draw(), progress)["cost"].item())
    full = costs[-1]
    assert costs == pytest.approx([0.02 * full, 0.52 * full, 0.98 * full, full], rel=1e-4)


def test_context_is_one_frame_in_the_configured_fraction_of_batches():
    loss = build_loss(single_frame_fraction=0.7)
    torch.manual_seed(0)
    drawn = [loss.draw_lengths(6) for _ in range(500)]
    single = [frames for frames, context in drawn if context == 1]
    assert 320 < len(single) < 380 and set(single) == {2, 3, 4, 5, 6}
    others = [(frames, context) for frames, context in drawn if context > 1]
    assert {frames for frames, _ in others} == {6} and {context for _, context in others} == {2, 3, 4, 5}
    assert {loss.draw_lengths(2) for _ in range(20)} == {(2, 1)}


def test_both_ends_of_capacity_are_drawn_and_high_capacities_are_more_frequent():
    capacity_B = build_loss("noisy").draw_capacity(2000, CPU, WHOLE_BATCH)
    assert 100 < (capacity_B == 0).sum() < 240 and 100 < (capacity_B == 1).sum() < 240
    assert capacity_B.mean() > 0.6


def test_clips_share_a_capacity_if_the_bottleneck_needs_that():
    capacity_B = build_loss("sparse").draw_capacity(8, CPU, WHOLE_BATCH)
    assert len(capacity_B) == 8 and len(capacity_B.unique()) == 1


def test_generated_states_are_judged_mainly_where_they_were_hidden():
    motion = draw(replace(PAIRS, clips=4, frames=2)).motion
    visible_BU1HW = torch.ones_like(motion.visible_BU1HW)
    visible_BU1HW[..., :8] = 0  # the left half was hidden
    motion = replace(motion, visible_BU1HW=visible_BU1HW)
    true_BUND = torch.zeros(4, 1, 16, 64)

    def loss(columns: slice) -> torch.Tensor:
        wrong = true_BUND.unflatten(2, (4, 4)).clone()
        wrong[:, :, :, columns] = 1.0
        return generated_loss([FakePrediction(wrong.flatten(2, 3))], true_BUND, motion)

    hidden, visible = loss(slice(0, 2)), loss(slice(2, 4))
    torch.testing.assert_close(hidden / visible, torch.tensor(1.1 / 0.1))
    torch.testing.assert_close(hidden + visible, torch.tensor(1.0))


class FakePrediction:
    """A prediction of which only the generated states matter."""

    def __init__(self, generated_BTND: torch.Tensor) -> None:
        self.generated_BTND = generated_BTND
