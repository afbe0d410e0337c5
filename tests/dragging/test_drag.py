"""A drag moves its handles by the asked distance, with actions that play back to the same rollout."""

import pytest
import torch

from lawm_core.dragging.drag import drag, infer_from_flow
from lawm_core.dragging.handle import WHOLE_FRAME, Handle
from lawm_core.model import BoundFamily
from tests.conftest import build_tiny_model


@pytest.fixture(scope="module")
def bound() -> BoundFamily:
    """A family with untrained weights, whose world model moves a frame as its action says."""
    return build_tiny_model(noise=0.0).at("noisy", 1.0)


@pytest.fixture
def state_11ND(bound) -> torch.Tensor:
    return bound.model.encode(torch.rand(1, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def run(bound, state_11ND, handles, **options):
    return list(drag(bound, bound.start_rollout(state_11ND), handles, **options))


def test_a_pan_reaches_what_was_asked(bound, state_11ND):
    pan = Handle(x=0.5, y=0.5, dx=0.1, dy=-0.05, radius=WHOLE_FRAME)
    steps = run(bound, state_11ND, [pan], steps=4)
    torch.testing.assert_close(steps[-1].reached_J2, torch.tensor([(0.1, -0.05)]), atol=0.02, rtol=0)
    halfway = steps[1].reached_J2[0]
    torch.testing.assert_close(halfway, torch.tensor((0.05, -0.025)), atol=0.015, rtol=0)


def test_corrections_come_closer(bound, state_11ND):
    handles = [Handle(x=0.4, y=0.5, dx=0.1, radius=0.2), Handle(x=0.9, y=0.9, radius=0.2)]
    asked_J2 = torch.tensor([(h.dx, h.dy) for h in handles])
    error = [
        float((run(bound, state_11ND, handles, corrections=count)[-1].reached_J2 - asked_J2).norm()) for count in (0, 2)
    ]
    assert error[1] < error[0]


def test_actions_play_back_to_the_same_rollout(bound, state_11ND):
    steps = run(bound, state_11ND, [Handle(x=0.5, y=0.5, dx=0.1, zoom=0.2)], steps=3)
    action_1UA = torch.stack([step.action_A for step in steps])[None]
    rollout = bound.rollout(state_11ND, action_1UA)
    torch.testing.assert_close(rollout.state_BUND[:, -1], steps[-1].now.state_BND, atol=1e-5, rtol=1e-5)


def test_a_flow_is_read_as_the_action_between_a_state_and_its_warped_copy(bound, state_11ND):
    still = torch.zeros(1, 2, 8, 8)
    expected = bound.infer_actions(state_11ND.expand(-1, 2, -1, -1), still[:, None])[:, 0]
    torch.testing.assert_close(infer_from_flow(bound, state_11ND[:, 0], still), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 17])
def test_too_few_or_too_many_handles_are_refused(bound, state_11ND, count):
    with pytest.raises(ValueError, match=f"a drag needs 1 to 16 handles, got {count}"):
        run(bound, state_11ND, [Handle(x=0.5, y=0.5)] * count)
