"""Properties of precision: decided once per process, followed by everything, and without effect on what is stored."""

import dataclasses
import functools

import pytest
import torch
from torch import nn

from lawm_core import runtime
from lawm_core.checkpoint import load_model, save_model
from lawm_core.contracts import CheckpointError, Clip
from lawm_core.evaluation.recipe import ClipReference, Recipe, explain_inexact, perform
from lawm_core.training.optimizers import Muon, orthogonalize
from tests.training.test_trainer import trainer

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("precision", ["float32", "bf16"])


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch):
    monkeypatch.delenv(runtime.PRECISION_VARIABLE, raising=False)


def pretend(monkeypatch, capabilities: dict, bf16_seconds: float) -> None:
    """A CPU with these capabilities, on which a product takes 1 s in float32."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(runtime, "product_seconds", lambda dtype: {torch.float32: 1.0}.get(dtype, bf16_seconds))
    monkeypatch.setattr(runtime, "cpu_prefers_bf16", runtime.cpu_prefers_bf16.__wrapped__)


@pytest.mark.parametrize(
    ("capabilities", "bf16_seconds", "expected"),
    [
        ({"architecture": "x86_64", "avx2": True}, 0.5, "float32"),  # no instructions: not even measured
        ({"architecture": "x86_64", "avx512_bf16": True}, 0.5, "bf16"),
        ({"architecture": "x86_64", "amx_bf16": True}, 0.2, "bf16"),
        ({"architecture": "x86_64", "avx512_bf16": True}, 30.0, "float32"),  # a flag that does not hold
        ({"architecture": "aarch64"}, 0.5, "bf16"),
        ({}, 2.0, "float32"),
    ],
)
def test_auto_is_what_the_processor_is_faster_in(monkeypatch, capabilities, bf16_seconds, expected):
    pretend(monkeypatch, capabilities, bf16_seconds)
    assert runtime.pick_precision("auto", CPU) == expected
    assert runtime.pick_precision("auto", torch.device("cuda")) == "bf16"


def test_a_name_wins_over_the_environment_and_the_environment_over_the_processor(monkeypatch):
    pretend(monkeypatch, {"architecture": "x86_64"}, 9.0)
    monkeypatch.setenv(runtime.PRECISION_VARIABLE, "bf16")
    assert runtime.pick_precision() == "bf16"
    assert runtime.pick_precision("float32") == "float32"
    monkeypatch.setenv(runtime.PRECISION_VARIABLE, "half")
    with pytest.raises(ValueError, match="LAWM_PRECISION must be one of auto, float32, bf16, got 'half'"):
        runtime.pick_precision()
    with pytest.raises(ValueError, match="precision must be one of"):
        runtime.pick_precision("fp16")


def test_this_processor_is_measured_once(monkeypatch):
    calls = []
    real = runtime.product_seconds
    monkeypatch.setattr(runtime, "product_seconds", lambda dtype: calls.append(dtype) or real(dtype))
    monkeypatch.setattr(runtime, "cpu_prefers_bf16", functools.cache(runtime.cpu_prefers_bf16.__wrapped__))
    first, measured = runtime.pick_precision(), len(calls)
    assert {runtime.pick_precision() for _ in range(5)} == {first}
    assert len(calls) == measured


def test_a_busy_moment_does_not_decide(monkeypatch):
    """The first products in bf16 are delayed by another process; later ones show what the processor can do."""
    pretend(monkeypatch, {"architecture": "x86_64", "avx512_bf16": True}, 0.5)
    delayed = iter([5.0, 5.0])
    monkeypatch.setattr(runtime, "product_seconds", lambda dtype: 1.0 if dtype == torch.float32 else next(delayed, 0.5))
    assert runtime.pick_precision("auto", CPU) == "bf16"


def product_dtypes(module: nn.Module) -> list[torch.dtype]:
    """The dtypes in which linear layers and convolutions answer from now on, appended as they do."""
    seen = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(lambda *given: seen.append(given[-1].dtype))
    return seen


@BOTH
def test_pictures_follow_the_precision_and_what_is_stored_does_not(tiny_model, frames, precision):
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = tiny_model.in_precision(precision)
    with torch.inference_mode():
        exact = tiny_model.infer_actions(tiny_model.encode(frames))
        seen = product_dtypes(model)
        state_BTND = model.encode(frames)
        action_BUA = model.infer_actions(state_BTND)
        assert set(seen) == {torch.float32} and torch.equal(action_BUA, exact)
        seen.clear()
        future_BUND = model.rollout(state_BTND[:, :1], action_BUA).state_BUND
        present = model.begin(state_BTND[:, :1]).step(action_BUA[:, 0])
        frame_BTCHW = model.decode(future_BUND)
    assert dtype in seen and (precision == "bf16" or set(seen) == {torch.float32})
    assert future_BUND.dtype == frame_BTCHW.dtype == present.state_BND.dtype == torch.float32
    torch.testing.assert_close(present.state_BND, future_BUND[:, 0], atol=0.05, rtol=0.05)


def test_both_precisions_show_about_the_same(tiny_model, frames):
    with torch.inference_mode():
        state_BTND = tiny_model.encode(frames)
        action_BUA = tiny_model.infer_actions(state_BTND)
        one, other = (
            tiny_model.in_precision(p).rollout(state_BTND[:, :1], action_BUA[:, :2]).state_BUND
            for p in ("float32", "bf16")
        )
    assert 0 < (one - other).abs().mean() < 0.02 * one.std()


def test_a_model_in_another_precision_shares_its_weights(tiny_model):
    other = tiny_model.in_precision("bf16")
    assert tiny_model.precision == "float32" and other.precision == "bf16"
    assert all(a is b for a, b in zip(tiny_model.parameters(), other.parameters(), strict=True))


def test_a_model_is_loaded_in_the_precision_that_is_asked_for(tiny_model, tmp_path, monkeypatch):
    save_model(tiny_model.in_precision("bf16"), tmp_path)
    assert load_model(tmp_path, precision="float32").precision == "float32"
    monkeypatch.setenv(runtime.PRECISION_VARIABLE, "bf16")
    model = load_model(tmp_path)
    assert model.precision == "bf16" and {p.dtype for p in model.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="got 'double'"):
        load_model(tmp_path, precision="double")


# ---- training -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_orthogonalized_matrices_have_even_singular_values(precision, shape):
    torch.manual_seed(0)
    matrix_XRC = torch.randn(3, *shape)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    even_XRC = orthogonalize(matrix_XRC.to(dtype)).float()
    sizes = torch.linalg.svdvals(even_XRC)
    assert sizes.min() > 0.4 and sizes.max() < 1.4
    alone = torch.stack([orthogonalize(m[None].to(dtype))[0].float() for m in matrix_XRC])
    torch.testing.assert_close(even_XRC, alone, atol=0.02, rtol=0.02)  # together or apart, the same


@BOTH
def test_training_follows_the_precision_and_keeps_float32_weights(tmp_path, precision):
    run, _ = trainer(tmp_path, execution={"precision": precision})
    seen = product_dtypes(run.module)
    told = run.train_step()
    assert (torch.bfloat16 in seen) is (precision == "bf16") and all(map(torch.tensor, told.values()))
    assert {p.dtype for p in run.module.parameters()} == {torch.float32}
    muon = next(o for o in run.optimizers if isinstance(o, Muon))
    assert muon.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


@BOTH
def test_a_run_resumes_bit_for_bit_in_its_own_precision(tmp_path, precision):
    straight, whole = trainer(tmp_path / "straight", steps=4, execution={"precision": precision})
    straight.run(show=False)
    stopped, _ = trainer(tmp_path / "stopped", steps=4, execution={"precision": precision})
    for _ in range(2):
        stopped.train_step()
    stopped.save()
    again, model = trainer(tmp_path / "stopped", steps=4, execution={"precision": precision})
    assert again.resume()
    again.run(show=False)
    assert all(map(torch.equal, whole.state_dict().values(), model.state_dict().values()))


def test_a_run_changes_its_precision_only_when_told_to(tmp_path, monkeypatch):
    run, _ = trainer(tmp_path, execution={"precision": "bf16"})
    run.train_step()
    run.save()
    pretend(monkeypatch, {"architecture": "x86_64"}, 9.0)
    with pytest.raises(CheckpointError, match=r"trained in bf16; .* is float32\. Pass --precision bf16"):
        trainer(tmp_path, execution={"precision": "auto"})[0].resume()
    told, _ = trainer(tmp_path, execution={"precision": "float32"})
    assert told.resume() and told.step == 1
    told.train_step()
    told.save()
    assert trainer(tmp_path, execution={"precision": "auto"})[0].resume()  # it is a float32 run now


# ---- replay ---------------------------------------------------------------------------------------------------------


def recipe(**changes: object) -> Recipe:
    piece = ClipReference(file="a.mp4", sha256="")
    about = {"model": "tiny", "fingerprint": "", "family": "noisy", "capacity": 1.0, "source": piece, "target": piece}
    return Recipe(**about | changes)


@BOTH
def test_a_replay_is_computed_in_the_recipes_precision_whatever_the_models(tiny_model, frames, precision):
    made = recipe(precision=precision, hardware=runtime.describe_hardware(CPU))
    assert Recipe.from_json(made.to_json()) == made
    source, target = (Clip(frame_TCHW=frame_TCHW, frames_per_second=6.0) for frame_TCHW in frames)
    first = perform(tiny_model.in_precision("float32"), made, source, target)
    again = perform(tiny_model.in_precision("bf16"), made, source, target)
    assert torch.equal(first.frame_TCHW, again.frame_TCHW)
    assert explain_inexact(made, CPU) is None


def test_a_replay_on_other_hardware_says_that_it_may_differ():
    other = recipe(precision="bf16", hardware="Xeon with AVX512, torch 2.13.0")
    assert "computed in bf16 on Xeon with AVX512, torch 2.13.0; this is" in explain_inexact(other, CPU)
    assert "on unknown hardware" in explain_inexact(recipe(), CPU)
    with pytest.raises(ValueError, match="precision must be one of float32, bf16, got 'auto'"):
        dataclasses.replace(other, precision="auto")
