"""No network depends on later frames: changing a later frame leaves earlier outputs bit-identical."""

import pytest
import torch

EDITED = 3


def edit(x: torch.Tensor) -> torch.Tensor:
    """Return a copy in which everything from frame EDITED on is replaced by random numbers."""
    changed = x.clone()
    changed[:, EDITED:] = torch.rand_like(changed[:, EDITED:])
    return changed


def test_encoder_is_causal(tiny_model, frames):
    before, after = tiny_model.encode(frames), tiny_model.encode(edit(frames))
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_decoder_is_causal(tiny_model, frames):
    state_BTND = tiny_model.encode(frames)
    before, after = tiny_model.decode(state_BTND), tiny_model.decode(edit(state_BTND))
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_decoder_uses_earlier_frames(tiny_model, frames):
    state_BTND = tiny_model.encode(frames)
    changed_BTND = state_BTND.clone()
    changed_BTND[:, 0] = torch.randn_like(changed_BTND[:, 0])
    assert not torch.equal(tiny_model.decode(state_BTND)[:, 1], tiny_model.decode(changed_BTND)[:, 1])


@pytest.mark.parametrize("edited", ["states", "actions"])
@pytest.mark.parametrize("part", ["state_BTND", "flow_BT2HW", "visible_logit_BT1HW", "generated_BTND"])
def test_world_model_is_causal(tiny_model, frames, edited, part):
    world_model = tiny_model.families["noisy"].world_model
    state_BTND, action_BTA, capacity_B = tiny_model.encode(frames), torch.randn(2, 6, 8), torch.tensor([0.3, 0.9])
    changed = (edit(state_BTND), action_BTA) if edited == "states" else (state_BTND, edit(action_BTA))
    before, after = (getattr(world_model(*given, capacity_B)[0], part) for given in ((state_BTND, action_BTA), changed))
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_an_action_depends_on_its_own_two_frames_only(tiny_model, frames):
    noisy = tiny_model.at("noisy", 0.5)
    before, after = (noisy.infer_actions(tiny_model.encode(given)) for given in (frames, edit(frames)))
    assert torch.equal(before[:, : EDITED - 1], after[:, : EDITED - 1])
    assert not torch.equal(before[:, EDITED - 1 :], after[:, EDITED - 1 :])
    changed = frames.clone()
    changed[:, 0] = torch.rand_like(changed[:, 0])
    early = noisy.infer_actions(tiny_model.encode(changed))
    assert not torch.equal(before[:, 0], early[:, 0]) and torch.equal(before[:, 1:], early[:, 1:])


def test_flow_depends_on_its_own_two_frames_only(tiny_model, frames):
    before, after = (tiny_model.read_flow(tiny_model.encode(given)) for given in (frames, edit(frames)))
    assert torch.equal(before[:, : EDITED - 1], after[:, : EDITED - 1])
    assert not torch.equal(before[:, EDITED - 1 :], after[:, EDITED - 1 :])
