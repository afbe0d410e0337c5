"""Precision: chosen once per process, followed by every computation, and without effect on what is stored."""

import dataclasses
import functools

import pytest
import torch
from torch import nn

from lawm_core import runtime
from lawm_core.checkpoint import load_model, save_model
from lawm_core.training.optimizers import Muon, orthogonalize
from lawm_core.transfer.replay import ClipReference, ReplaySpec, explain_inexact, run_spec
from lawm_core.types import CheckpointError, Clip
from tests.training.toy_stages import assert_resumes, build_trainer

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("precision", ["float32", "bf16"])


@pytest.fixture(autouse=True)
def no_precision_in_the_environment(monkeypatch):
    monkeypatch.delenv(runtime.PRECISION_VARIABLE, raising=False)


def pretend_cpu(monkeypatch, capabilities: dict, bf16_seconds: float) -> None:
    """Pretend a CPU with these capabilities, on which a product takes 1 s in float32 and `bf16_seconds` in bf16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(runtime, "product_seconds", lambda dtype: {torch.float32: 1.0}.get(dtype, bf16_seconds))
    monkeypatch.setattr(runtime, "cpu_prefers_bf16", runtime.cpu_prefers_bf16.__wrapped__)


# ---- choosing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "bf16_seconds", "expected"),
    [
        ({"architecture": "x86_64", "avx2": True}, 0.5, "float32"),  # without instructions, nothing is measured
        ({"architecture": "x86_64", "avx512_bf16": True}, 0.5, "bf16"),
        ({"architecture": "x86_64", "amx_bf16": True}, 0.2, "bf16"),
        ({"architecture": "x86_64", "avx512_bf16": True}, 30.0, "float32"),  # the flag is not real
        ({"architecture": "aarch64"}, 0.5, "bf16"),
        ({}, 2.0, "float32"),
    ],
)
def test_auto_is_the_faster_precision(monkeypatch, capabilities, bf16_seconds, expected):
    pretend_cpu(monkeypatch, capabilities, bf16_seconds)
    assert runtime.pick_precision("auto", CPU) == expected
    assert runtime.pick_precision("auto", torch.device("cuda")) == "bf16"


def test_an_argument_overrides_the_environment_and_the_environment_overrides_the_measurement(monkeypatch):
    pretend_cpu(monkeypatch, {"architecture": "x86_64"}, 9.0)
    monkeypatch.setenv(runtime.PRECISION_VARIABLE, "bf16")
    assert runtime.pick_precision() == "bf16"
    assert runtime.pick_precision("float32") == "float32"
    monkeypatch.setenv(runtime.PRECISION_VARIABLE, "half")
    with pytest.raises(ValueError, match="LAWM_PRECISION must be one of auto, float32, bf16, got 'half'"):
        runtime.pick_precision()
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bf16, got 'fp16'"):
        runtime.pick_precision("fp16")


def test_the_cpu_is_measured_once(monkeypatch):
    calls, measure = [], runtime.product_seconds
    monkeypatch.setattr(runtime, "product_seconds", lambda dtype: calls.append(dtype) or measure(dtype))
    monkeypatch.setattr(runtime, "cpu_prefers_bf16", functools.cache(runtime.cpu_prefers_bf16.__wrapped__))
    first, count = runtime.pick_precision(), len(calls)
    assert {runtime.pick_precision() for _ in range(5)} == {first}
    assert len(calls) == count


def test_one_slow_round_does_not_decide(monkeypatch):
    """Another process delays the first products in bf16; later ones are fast."""
    pretend_cpu(monkeypatch, {"architecture": "x86_64", "avx512_bf16": True}, 0.5)
    delayed = iter([5.0, 5.0])
    monkeypatch.setattr(runtime, "product_seconds", lambda dtype: 1.0 if dtype == torch.float32 else next(delayed, 0.5))
    assert runtime.pick_precision("auto", CPU) == "bf16"


# ---- inference ------------------------------------------------------------------------------------------------------


def record_dtypes(module: nn.Module) -> list[torch.dtype]:
    """Return a list to which linear layers and convolutions append the dtype of their output from now on."""
    dtypes = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(lambda *given: dtypes.append(given[-1].dtype))
    return dtypes


@BOTH
def test_rollouts_and_frames_follow_the_precision_but_states_and_actions_do_not(tiny_model, frames, precision):
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = tiny_model.with_precision(precision)
    with torch.inference_mode():
        expected_BUA = tiny_model.at().infer_actions(tiny_model.encode(frames))
        dtypes = record_dtypes(model)
        state_BTND = model.encode(frames)
        action_BUA = model.at().infer_actions(state_BTND)
        assert set(dtypes) == {torch.float32} and torch.equal(action_BUA, expected_BUA)
        results = {
            "rollout": lambda: model.at().rollout(state_BTND[:, :1], action_BUA).state_BUND,
            "step": lambda: model.at().start_rollout(state_BTND[:, :1]).step(action_BUA[:, 0]).state_BND,
            "decode": lambda: model.decode(state_BTND),
            "render": lambda: model.render(model.at().rollout(state_BTND[:, :1], action_BUA), frames[:, 0]),
        }
        for name, compute in results.items():
            dtypes.clear()
            results[name] = compute()
            assert dtype in dtypes and (precision == "bf16" or set(dtypes) == {torch.float32}), name
            assert results[name].dtype == torch.float32, name
    torch.testing.assert_close(results["step"], results["rollout"][:, 0], atol=0.05, rtol=0.05)


def test_both_precisions_give_nearly_equal_rollouts(tiny_model, frames):
    with torch.inference_mode():
        state_BTND = tiny_model.encode(frames)
        action_BUA = tiny_model.at().infer_actions(state_BTND)
        exact, rounded = (
            tiny_model.with_precision(precision).at().rollout(state_BTND[:, :1], action_BUA[:, :2]).state_BUND
            for precision in ("float32", "bf16")
        )
    assert 0 < (exact - rounded).abs().mean() < 0.02 * exact.std()


def test_with_precision_shares_the_weights(tiny_model):
    other = tiny_model.with_precision("bf16")
    assert tiny_model.precision == "float32" and other.precision == "bf16"
    assert all(a is b for a, b in zip(tiny_model.parameters(), other.parameters(), strict=True))


def test_a_model_is_loaded_in_the_requested_precision_with_float32_weights(tiny_model, tmp_path, monkeypatch):
    save_model(tiny_model.with_precision("bf16"), tmp_path)
    assert load_model(tmp_path, precision="float32").precision == "float32"
    monkeypatch.setenv(runtime.PRECISION_VARIABLE, "bf16")
    model = load_model(tmp_path)
    assert model.precision == "bf16" and {p.dtype for p in model.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bf16, got 'double'"):
        load_model(tmp_path, precision="double")


def test_linear_weights_stored_in_bf16_give_bit_identical_results(tiny_model, frames):
    with torch.inference_mode():
        state_BTND = tiny_model.encode(frames)
        action_BUA, model = tiny_model.at().infer_actions(state_BTND), tiny_model.with_precision("bf16")
        compute = lambda: model.at().rollout(state_BTND[:, :1], action_BUA).state_BUND
        expected = compute()
        world_model = model.families["noisy"].world_model
        assert runtime.cast_linear_weights(world_model, "float32") is world_model
        assert {p.dtype for p in world_model.parameters()} == {torch.float32}
        runtime.cast_linear_weights(world_model, "bf16")
        assert world_model.embed_state.weight.dtype == torch.bfloat16
        assert torch.equal(compute(), expected)


# ---- training -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_orthogonalized_matrices_have_similar_singular_values(precision, shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    orthogonal = orthogonalize(matrices.to(dtype)).float()
    singular_values = torch.linalg.svdvals(orthogonal)
    assert singular_values.min() > 0.4 and singular_values.max() < 1.4
    one_by_one = torch.stack([orthogonalize(matrix[None].to(dtype))[0].float() for matrix in matrices])
    torch.testing.assert_close(orthogonal, one_by_one, atol=0.02, rtol=0.02)


@BOTH
def test_training_follows_the_precision_and_keeps_float32_weights(tmp_path, precision):
    trainer, _ = build_trainer(tmp_path, execution={"precision": precision})
    dtypes = record_dtypes(trainer.module)
    losses = trainer.train_step()
    assert (torch.bfloat16 in dtypes) is (precision == "bf16")
    assert torch.tensor(list(losses.values())).isfinite().all()
    assert {p.dtype for p in trainer.module.parameters()} == {torch.float32}
    muon = next(optimizer for optimizer in trainer.optimizers if isinstance(optimizer, Muon))
    assert muon.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


@BOTH
def test_resume_is_bit_identical_in_both_precisions(tmp_path, precision):
    assert_resumes(
        lambda name: build_trainer(tmp_path / name, steps=4, execution={"precision": precision})[0], stop_at=2
    )


def test_a_run_changes_its_precision_only_on_request(tmp_path, monkeypatch):
    build = lambda precision: build_trainer(tmp_path, execution={"precision": precision})[0]
    trainer = build("bf16")
    trainer.train_step()
    trainer.save()
    pretend_cpu(monkeypatch, {"architecture": "x86_64"}, 9.0)
    message = r"was trained in bf16; the automatic choice on this machine is float32\. Pass --precision bf16"
    with pytest.raises(CheckpointError, match=message):
        build("auto").resume()
    converted = build("float32")
    assert converted.resume() and converted.step == 1
    converted.train_step()
    converted.save()
    assert build("auto").resume(), "it is a float32 run now"


# ---- replay ---------------------------------------------------------------------------------------------------------


def replay_spec(**changes: object) -> ReplaySpec:
    clip = ClipReference(file="a.mp4", sha256="")
    fields = {"model": "tiny", "fingerprint": "", "family": "noisy", "capacity": 1.0, "source": clip, "target": clip}
    return ReplaySpec(**fields | changes)


@BOTH
def test_a_replay_is_computed_in_the_precision_of_its_spec(tiny_model, frames, precision):
    spec = replay_spec(precision=precision, hardware=runtime.describe_hardware(CPU))
    assert ReplaySpec.from_json(spec.to_json()) == spec
    source, target = (Clip(frame_TCHW=frame_TCHW, frames_per_second=6.0) for frame_TCHW in frames)
    first, second = (
        run_spec(tiny_model.with_precision(of_model), spec, source, target) for of_model in ("float32", "bf16")
    )
    assert torch.equal(first.frame_TCHW, second.frame_TCHW)
    assert explain_inexact(spec, CPU) is None


def test_a_replay_on_other_hardware_may_differ():
    spec = replay_spec(precision="bf16", hardware="Xeon with AVX512, torch 2.13.0")
    assert "was computed in bf16 on Xeon with AVX512, torch 2.13.0; this is" in explain_inexact(spec, CPU)
    assert "on unknown hardware" in explain_inexact(replay_spec(), CPU)
    with pytest.raises(ValueError, match="precision must be one of float32, bf16, got 'auto'"):
        dataclasses.replace(spec, precision="auto")
