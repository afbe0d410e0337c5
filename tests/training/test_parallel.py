"""Training on many ranks takes the steps of one process, whatever their number and whether weights are sharded."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.model import LatentActionModel
from lawm_core.training.decoder_loss import DecoderLoss, DecoderLossConfig
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.parallel import parallelize
from lawm_core.training.trainer import Trainer
from tests.ranks import run_ranks
from tests.training.toy_stages import FAMILIES, LOSSES, build_trainer

STEPS = 4
SLOW = OptimizerConfig(muon_rate=0.005, adam_rate=1e-3, warm_up=0.1)
MEANS = {  # losses that are means over clips, so that gradient accumulation is exact
    "noisy": lambda model: LatentActionLoss(model, LatentActionLossConfig(generated=0.0)),
    "decoder": lambda model: DecoderLoss(model, DecoderLossConfig(no_reference_fraction=1.0)),
}


def build(folder: Path, stage: str, parallel: str = "ddp", loss=None, **execution) -> tuple[Trainer, LatentActionModel]:
    execution |= {"parallel": parallel}
    return build_trainer(folder, stage, STEPS, loss, execution, optimizer=SLOW)


def curve(trainer: Trainer, steps: int) -> list[list[float]]:
    """Loss and gradient norm of some steps: optimizers hide a wrong gradient at first."""
    taken = [trainer.train_step() for _ in range(steps)]
    return [[step["loss"], step["gradient"]] for step in taken]


def train_and_resume(folder: Path, stage: str, parallel: str = "ddp") -> list[list[float]]:
    """Return a stage's curve: two steps, a checkpoint, and two steps of a resumed run. The final model is saved too."""
    trainer, _ = build(folder / stage, stage, parallel)
    losses = curve(trainer, 2)
    trainer.save()
    resumed, model = build(folder / stage, stage, parallel)
    assert resumed.resume()
    losses += curve(resumed, STEPS - 2)
    save_model(model, folder / stage / "model")
    return losses


def work(rank: int, ranks: int, folder: str, parallel: str, stages: tuple[str, ...], options: dict[str, dict]) -> None:
    """Run one of several ranks: train some stages, then resume what one process has saved, and save it sharded.

    options: runs of two more steps, by name: a stage and the execution options to run it with.
    """
    torch.set_num_threads(1)
    home = Path(folder)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    curves = {stage: train_and_resume(home, stage, parallel) for stage in stages}
    trainer, _ = build(home / "one", "noisy", parallel, sharded_checkpoint=True)
    assert trainer.resume() and trainer.step == 2
    assert any(hasattr(p, "to_local") for p in trainer.module.parameters()) is (parallel == "fsdp")
    curves["resumed"] = curve(trainer, 1)
    trainer.save()
    for name, how in options.items():
        curves[name] = curve(build(home / name, how["stage"], parallel, **how["execution"])[0], 2)
    if rank == 0:
        torch.save(curves, home / "curves.pt")
    torch.distributed.destroy_process_group()


def assert_close_curves(ours: list[list[float]], theirs: list[list[float]]) -> None:
    """Losses within 1e-4, gradient norms within a thousandth."""
    (loss, norm), (true, true_norm) = torch.tensor(ours).T, torch.tensor(theirs).T
    torch.testing.assert_close(loss, true, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(norm, true_norm, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A function that returns one process's curve of a stage; each stage is trained once."""
    home = tmp_path_factory.mktemp("alone")
    return functools.cache(lambda stage: train_and_resume(home, stage))


def assert_ranks_equal_one_process(alone, folder: Path, ranks: int, parallel: str, stages, options=None) -> None:
    """Compare every curve that `work` writes with one process's, and resume across both formats of a checkpoint."""
    one, _ = build(folder / "one", "noisy")
    straight = curve(one, 2)
    one.save()
    run_ranks(work, (ranks, str(folder), parallel, stages, options or {}), ranks)
    shared = torch.load(folder / "curves.pt", weights_only=True)
    for stage in stages:
        assert_close_curves(shared[stage], alone(stage))
        assert load_model(folder / stage / "model").family_names == FAMILIES
    for name, how in (options or {}).items():
        assert_close_curves(shared[name], alone(how["stage"])[:2])
    # Many ranks resume what one process saved; one process resumes what they saved as shards.
    assert_close_curves(straight + shared["resumed"], alone("noisy")[:3])
    (shards,) = (folder / "one").glob("state-*/")
    assert len(list(shards.glob("*.safetensors"))) == ranks  # each wrote its own
    last, _ = build(folder / "one", "noisy")
    assert last.resume() and last.step == 3
    assert_close_curves(curve(last, 1), alone("noisy")[3:])
    last.save()
    assert sorted(p.name for p in (folder / "one").iterdir()) == ["progress.json", "state.safetensors"]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_take_the_steps_of_one_process(alone, tmp_path, parallel):
    assert_ranks_equal_one_process(alone, tmp_path, 2, parallel, ("discrete", "decoder"))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_ranks_takes_the_steps_of_one_process_in_every_stage(alone, tmp_path, ranks, parallel):
    assert_ranks_equal_one_process(alone, tmp_path, ranks, parallel, tuple(LOSSES))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_compiled_ranks_with_activation_checkpointing_take_the_steps_of_one_process(alone, tmp_path, parallel):
    execution = {"compile": True, "activation_checkpointing": True}
    options = {"compiled": {"stage": "noisy", "execution": execution}}
    assert_ranks_equal_one_process(alone, tmp_path, 2, parallel, (), options)


def test_unknown_parallelism_is_refused():
    with pytest.raises(ValueError, match="parallel must be one of ddp, fsdp, got 'pipeline'"):
        parallelize(None, "pipeline", torch.device("cpu"))


# ---- gradient accumulation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro_batches", [2, 4])
@pytest.mark.parametrize("stage", MEANS)
def test_gradient_accumulation_is_exact_for_means_over_clips(tmp_path, stage, micro_batches):
    whole, split = (
        curve(build(tmp_path / str(count), stage, loss=MEANS[stage], grad_accum_steps=count)[0], 2)
        for count in (1, micro_batches)
    )
    assert_close_curves(split, whole)


def work_on_micro_batches(rank: int, folder: str, parallel: str) -> None:
    """Run one of two ranks that accumulate the gradients of two micro-batches each."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    trainers = {
        stage: build(Path(folder) / stage, stage, parallel, MEANS[stage], grad_accum_steps=2) for stage in MEANS
    }
    curves = {stage: curve(trainer, 2) for stage, (trainer, _) in trainers.items()}
    if rank == 0:
        torch.save(curves, f"{folder}/curves.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_gradient_accumulation_on_ranks_is_exact_for_means_over_clips(tmp_path, parallel):
    run_ranks(work_on_micro_batches, (str(tmp_path), parallel), 2)
    curves = torch.load(tmp_path / "curves.pt", weights_only=True)
    for stage, loss in MEANS.items():
        assert_close_curves(curves[stage], curve(build(tmp_path / f"{stage}-alone", stage, loss=loss)[0], 2))


# ---- torchrun -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_torchrun_trains_a_recipe(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "lawm_core", "train", "encoder", "--steps", "2", "--quiet", "--out", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    (last,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))  # from rank 0 alone
    assert last["stage"] == "encoder" and last["step"] == 2
    assert load_model(tmp_path / "model").name == "nano256"  # the default recipe
