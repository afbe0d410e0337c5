"""A family takes over what another learned of the world, and keeps what its own bottleneck needs."""

import torch

from lawm_core.model import LatentActionModel
from tests.conftest import shake, tiny_config


def two_families() -> LatentActionModel:
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=("noisy", "sparse")))
    shake(model)
    return model.eval()


def test_a_started_family_says_the_same_of_motion_and_keeps_its_own_dial():
    model = two_families()
    noisy, sparse = model.member("noisy"), model.member("sparse")
    gains = sparse.world_model.trust.gain_KA.clone(), sparse.inverse_dynamics.loudness.gain_KA.clone()
    sparse.start_from(noisy)
    assert torch.equal(sparse.world_model.trust.gain_KA, gains[0])
    assert torch.equal(sparse.inverse_dynamics.loudness.gain_KA, gains[1])
    assert torch.equal(sparse.world_model.motion.weight, noisy.world_model.motion.weight)
    with torch.no_grad():
        sparse.inverse_dynamics.loudness.gain_KA.copy_(noisy.inverse_dynamics.loudness.gain_KA)
    state, capacity = torch.randn(2, 3, 16, 64), torch.tensor([0.3, 0.9])
    mean = noisy.inverse_dynamics(state, capacity).chunk(2, dim=-1)[0]
    torch.testing.assert_close(sparse.inverse_dynamics(state, capacity), mean, atol=1e-5, rtol=1e-5)


def test_references_are_no_families():
    model = LatentActionModel(tiny_config(families=("noisy", "deterministic", "unconstrained")))
    assert model.families == ("noisy",) and model.references == ("deterministic", "unconstrained")
    state = torch.randn(2, 3, 16, 64)
    assert model.infer_actions(state, family="deterministic").abs().max() == 0
