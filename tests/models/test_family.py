"""A family can start from the weights of another one; reference lines are not families."""

import pytest
import torch

from lawm_core.model import LatentActionModel
from tests.conftest import build_tiny_model, tiny_config


def test_a_family_that_starts_from_another_infers_and_predicts_the_same():
    model = build_tiny_model(families=("noisy", "sparse"))
    noisy, sparse = model.families["noisy"], model.families["sparse"]
    sparse.start_from(noisy)
    state_BTND, flow_BU2HW = torch.randn(2, 3, 16, 64), torch.randn(2, 2, 2, 16, 16) * 0.05
    capacity_B = torch.tensor([0.3, 0.9])
    with torch.no_grad():
        for part in ("inverse_dynamics.action_readout", "world_model"):  # gains are not copied, see below
            own, other = sparse.get_submodule(part), noisy.get_submodule(part)
            for gain in ("action_gain", "correction_gain"):
                getattr(own, gain).gain_KA.copy_(getattr(other, gain).gain_KA)
        mean_BUA = noisy.inverse_dynamics(state_BTND, flow_BU2HW, capacity_B).chunk(2, dim=-1)[0]
        found_BUA = sparse.inverse_dynamics(state_BTND, flow_BU2HW, capacity_B)
        torch.testing.assert_close(found_BUA, mean_BUA, atol=1e-5, rtol=1e-5)
        expected, found = (f.world_model(state_BTND[:, :2], mean_BUA, capacity_B)[0] for f in (noisy, sparse))
    assert torch.equal(found.state_BTND, expected.state_BTND)


def test_a_family_that_starts_from_another_keeps_its_bottleneck_and_gains():
    model = build_tiny_model(families=("noisy", "discrete"))
    noisy, discrete = model.families["noisy"], model.families["discrete"]
    before = {name: tensor.clone() for name, tensor in discrete.state_dict().items()}
    discrete.start_from(noisy)
    kept = [name for name in before if "gain_KA" in name or name.startswith(("bottleneck.", "sampler."))]
    assert len(kept) >= 8
    for name in kept:
        assert torch.equal(discrete.state_dict()[name], before[name]), name
    for name, tensor in discrete.state_dict().items():
        if name not in kept:
            expected = noisy.state_dict()[name]
            assert torch.equal(tensor, expected[: len(tensor)]), name


def test_references_are_not_families():
    model = LatentActionModel(tiny_config(families=("noisy", "deterministic", "unconstrained")))
    assert model.family_names == ("noisy",) and model.reference_names == ("deterministic", "unconstrained")
    assert model.at().name == "noisy"
    state_BTND = torch.randn(2, 3, 16, 64)
    assert model.at("deterministic").infer_actions(state_BTND).abs().max() == 0


def test_a_model_of_references_alone_raises():
    with pytest.raises(ValueError, match="at least one bottleneck family is required, got"):
        tiny_config(families=("deterministic",))
