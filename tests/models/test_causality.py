"""No part may look ahead: editing a later frame leaves earlier outputs bit-identical."""

import pytest
import torch

EDITED = 3


def edit(x: torch.Tensor) -> torch.Tensor:
    changed = x.clone()
    changed[:, EDITED:] = torch.rand_like(changed[:, EDITED:])
    return changed


def test_encoder_is_causal(tiny_model, frames):
    before, after = tiny_model.encode(frames), tiny_model.encode(edit(frames))
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_decoder_is_causal(tiny_model, frames):
    state = tiny_model.encode(frames)
    before, after = tiny_model.decode(state), tiny_model.decode(edit(state))
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_decoder_does_look_back(tiny_model, frames):
    state = tiny_model.encode(frames)
    changed = state.clone()
    changed[:, 0] = torch.randn_like(changed[:, 0])
    assert not torch.equal(tiny_model.decode(state)[:, 1], tiny_model.decode(changed)[:, 1])


@pytest.mark.parametrize("what", ["states", "actions"])
def test_world_model_is_causal(tiny_model, frames, what):
    world_model = tiny_model.member("noisy").world_model
    state, action, capacity = tiny_model.encode(frames), torch.randn(2, 6, 8), torch.tensor([0.3, 0.9])
    before, _ = world_model(state, action, capacity)
    changed = (edit(state), action) if what == "states" else (state, edit(action))
    after, _ = world_model(*changed, capacity)
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_an_action_is_inferred_from_its_own_two_frames(tiny_model, frames):
    before = tiny_model.infer_actions(tiny_model.encode(frames))
    after = tiny_model.infer_actions(tiny_model.encode(edit(frames)))
    assert torch.equal(before[:, : EDITED - 1], after[:, : EDITED - 1])
    assert not torch.equal(before[:, EDITED - 1 :], after[:, EDITED - 1 :])
