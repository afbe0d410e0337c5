"""Laws of training: it learns, it stops, it goes on bit for bit."""

import dataclasses
import errno
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lawm_core import checkpoint
from lawm_core.contracts import CheckpointError
from lawm_core.model import LatentActionModel
from lawm_core.training.batches import BatchConfig, PairSource
from lawm_core.training.losses import (
    LatentActionConfig,
    LatentActionObjective,
    PictureConfig,
    PictureObjective,
    ReconstructionConfig,
    ReconstructionObjective,
)
from lawm_core.training.masked import MaskedConfig, MaskedObjective
from lawm_core.training.optimizers import OptimizerConfig, build_optimizers, learning_rate_scale
from lawm_core.training.recipes import RECIPES, find_recipe
from lawm_core.training.trainer import Deadline, ExecutionConfig, Trainer, TrainerConfig
from lawm_core.worlds.tracks import TwinConfig
from tests.conftest import TINY_BLOCK, tiny_config

BATCH = BatchConfig(clips=4, frames=3, twins=TwinConfig(frame_size=32, objects=1))
OBJECTIVES = {
    "encoder": lambda model: ReconstructionObjective(model, ReconstructionConfig()),
    "masked": lambda model: MaskedObjective(model, MaskedConfig(block=TINY_BLOCK, depth=1)),
    "mixed": lambda model: MaskedObjective(model, MaskedConfig(block=TINY_BLOCK, depth=1, reconstruction=1.0)),
    "lam": lambda model: LatentActionObjective(model, LatentActionConfig()),
    "cycle": lambda model: LatentActionObjective(model, LatentActionConfig(cycle=0.5)),
    "decoder": lambda model: PictureObjective(model, PictureConfig()),
}


def trainer(
    folder, stage: str = "lam", steps: int = 6, execution: dict | None = None, **changes
) -> tuple[Trainer, LatentActionModel]:
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config())
    source = PairSource(BATCH, None, torch.device("cpu"), seed=0)
    execution = ExecutionConfig(**{"precision": "float32"} | (execution or {}))
    config = TrainerConfig(steps=steps, execution=execution, save_every=3, **changes)
    return Trainer(OBJECTIVES[stage](model), source, config, folder), model


def weights(model: LatentActionModel) -> list[torch.Tensor]:
    return list(model.state_dict().values())


@pytest.mark.parametrize("stage", list(OBJECTIVES))
def test_resume_is_bit_identical(tmp_path, stage):
    straight, whole = trainer(tmp_path / "straight", stage)
    straight.run(show=False)
    stopped, _ = trainer(tmp_path / "stopped", stage)
    for _ in range(3):
        stopped.train_step()
    stopped.save()
    resumed, again = trainer(tmp_path / "stopped", stage)
    assert resumed.resume() and resumed.step == 3
    resumed.run(show=False)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


@pytest.mark.parametrize("stage", list(OBJECTIVES))
def test_every_stage_learns_and_leaves_the_others_alone(tmp_path, stage):
    calm = OptimizerConfig(muon_rate=0.005, adam_rate=2e-3, warm_up=0.1)
    run, model = trainer(tmp_path, stage, steps=40, optimizer=calm)
    before = {n: p.clone() for n, p in model.state_dict().items()}
    pairs = run.source.draw(0)

    def loss() -> float:
        torch.manual_seed(1)
        run.module.train()
        with torch.no_grad():
            return run.objective.losses(pairs, 1.0)["loss"].item()

    first = loss()
    run.run(show=False)
    last = loss()
    assert last < first
    changed = {n.split(".")[0] for n, p in model.state_dict().items() if not torch.equal(p, before[n])}
    expected = {
        "encoder": "encoder decoder",
        "masked": "encoder",
        "mixed": "encoder decoder",
        "lam": "members",
        "cycle": "members",
    }
    assert changed == set(expected.get(stage, "decoder").split())


def test_a_time_budget_stops_cleanly_with_a_save(tmp_path):
    run, _ = trainer(tmp_path, steps=100_000)
    run.run(minutes=0.01, show=False)
    saved = json.loads((tmp_path / "progress.json").read_text())["step"]
    assert 0 < saved < 100_000 and run.step == saved
    again, _ = trainer(tmp_path, steps=100_000)
    assert again.resume() and again.step == saved


def test_a_signal_ends_the_run_after_the_step_in_hand(tmp_path):
    import os
    import signal

    run, _ = trainer(tmp_path, steps=100_000)
    step = run.train_step

    def step_then_signal():
        if run.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step()

    run.train_step = step_then_signal
    run.run(show=False)
    assert run.step == 3 and json.loads((tmp_path / "progress.json").read_text())["step"] == 3


def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_the_last_save(tmp_path):
    run, _ = trainer(tmp_path)
    run.train_step()
    run.save()
    good = (tmp_path / "state.safetensors").read_bytes()
    run.objective.losses = lambda pairs, progress: {"loss": torch.tensor(float("nan"), requires_grad=True)}
    with pytest.raises(FloatingPointError, match="step 1"):
        run.run(show=False)
    assert (tmp_path / "state.safetensors").read_bytes() == good


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    run, model = trainer(tmp_path)
    run.train_step()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    next(iter(run.module.parameters())).register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(FloatingPointError, match=r"gradient is nan at step 1 \(seed 0"):
        run.train_step()
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("damage", ["cut", "stepless"])
def test_a_damaged_state_is_refused_with_what_to_do(tmp_path, damage):
    run, _ = trainer(tmp_path)
    run.save()
    path = tmp_path / "state.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        save_file({n: t for n, t in load_file(path).items() if n != "step"}, path)
    with pytest.raises(CheckpointError, match="remove it to begin anew"):
        trainer(tmp_path)[0].resume()


def test_a_full_disk_stops_the_run_and_keeps_the_last_save(tmp_path, monkeypatch):
    run, _ = trainer(tmp_path)
    write, saves = checkpoint.save_file, []

    def fill_up(*arguments):
        saves.append(1)
        if len(saves) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", fill_up)
    with pytest.raises(OSError, match="No space left"):
        run.run(show=False)
    monkeypatch.undo()
    again, _ = trainer(tmp_path)
    assert again.resume() and again.step == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["progress.json", "state.safetensors"]


def test_another_stages_state_is_refused(tmp_path):
    run, _ = trainer(tmp_path, "decoder")
    run.save()
    other, _ = trainer(tmp_path, "lam")
    with pytest.raises(CheckpointError, match="another model or stage"):
        other.resume()


def test_batches_are_a_function_of_seed_and_step():
    one, two = (PairSource(BATCH, None, torch.device("cpu"), seed=4) for _ in range(2))
    assert torch.equal(one.draw(7).source_BTCHW, two.draw(7).source_BTCHW)
    assert not torch.equal(one.draw(7).source_BTCHW, one.draw(8).source_BTCHW)


def test_muon_takes_block_matrices_and_adamw_everything_else():
    family = LatentActionModel(tiny_config()).member("noisy")
    muon, adam = build_optimizers(family, OptimizerConfig())
    in_muon = {id(p) for g in muon.param_groups for p in g["params"]}
    in_adam = {id(p) for g in adam.param_groups for p in g["params"]}
    assert not in_muon & in_adam and in_muon | in_adam == {id(p) for p in family.parameters()}
    assert all((id(p) in in_muon) == (".blocks." in n and p.ndim == 2) for n, p in family.named_parameters())


def test_one_budget_serves_several_trainings(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lawm_core.training.trainer.time.monotonic", lambda: now[0])
    deadline = Deadline(2.0)
    now[0] += 90
    assert deadline.minutes_left() == pytest.approx(0.5)
    now[0] += 90
    assert deadline.minutes_left() == 0 and Deadline(None).minutes_left() is None


def test_rate_warms_up_and_falls_to_its_floor():
    config = OptimizerConfig(warm_up=0.1, floor=0.02)
    scale = [learning_rate_scale(s, 100, config) for s in range(101)]
    assert scale[0] == pytest.approx(0.1) and max(scale) == pytest.approx(1.0)
    assert scale[:10] == sorted(scale[:10]) and scale[10:] == sorted(scale[10:], reverse=True)
    assert scale[100] == pytest.approx(0.02)


def test_without_other_twins_and_colours_each_clip_explains_itself():
    def draw(**changes):
        return PairSource(dataclasses.replace(BATCH, **changes), None, torch.device("cpu"), seed=0).draw(0)

    plain, coloured, across = draw(across=0.0, recoloured=0.0), draw(across=0.0, recoloured=1.0), draw()
    assert torch.equal(plain.source_BTCHW, plain.target_BTCHW)
    assert torch.equal(coloured.target_BTCHW, plain.target_BTCHW) and torch.equal(
        across.target_BTCHW, plain.target_BTCHW
    )
    for pairs in (coloured, across):
        assert ((pairs.source_BTCHW - pairs.target_BTCHW).abs().mean(dim=(1, 2, 3, 4)) > 0.02).all()


def test_a_share_of_twins_explains_the_other_one():
    config = dataclasses.replace(BATCH, clips=40, recoloured=0.0, across=0.3)
    pairs = PairSource(config, None, torch.device("cpu"), seed=0).draw(0)
    itself = [torch.equal(s, t) for s, t in zip(pairs.source_BTCHW, pairs.target_BTCHW, strict=True)]
    assert 20 < sum(itself) < 36


def test_there_and_back_is_learned_through_the_prediction(tmp_path):
    run, model = trainer(tmp_path, "cycle")
    losses = run.objective.losses(run.source.draw(0), progress=0.5)
    gradient = torch.autograd.grad(losses["cycle"], model.member(None).world_model.motion.weight)[0]
    assert losses["cycle"] > 0 and gradient.abs().max() > 0
    torch.testing.assert_close(losses["loss"], losses["error"] + losses["cost"] + 0.5 * losses["cycle"])


def kept(run) -> int:
    """Bytes that a step keeps for the way back, weights and views of the same memory not twice."""
    held = {}

    def count(x: torch.Tensor) -> torch.Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        run.train_step()
    for weight in run.module.parameters():
        held.pop(weight.untyped_storage().data_ptr(), None)
    return sum(held.values())


def test_activations_computed_again_give_the_same_steps_in_less_memory(tmp_path):
    plain, model = trainer(tmp_path / "plain")
    sparing, again = trainer(tmp_path / "sparing", execution={"recompute": True})
    assert kept(sparing) < 0.9 * kept(plain)
    plain.run(show=False)
    sparing.run(show=False)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(again), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_steps_are_the_same_to_rounding(tmp_path, recompute):
    plain, _ = trainer(tmp_path / "plain")
    compiled, _ = trainer(tmp_path / "compiled", execution={"compiled": True, "recompute": recompute})
    for _ in range(3):
        expected, found = plain.train_step(), compiled.train_step()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert kept(compiled) < (0.8 if recompute else 1.0) * kept(plain)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_twins_are_of_its_models_size(name):
    """Whatever is drawn beside real clips has to fit them."""
    recipe = find_recipe(name)
    sizes = {name: stage.batch.twins.frame_size for name, stage in recipe.stages.items()}
    assert sizes.pop("decoder") == recipe.model.picture_size
    assert set(sizes.values()) == {recipe.model.encoder.frame_size}
