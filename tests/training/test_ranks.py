"""Laws of training on many ranks: the steps of one process, whatever their number and however a model is held."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.contracts import CheckpointError
from lawm_core.model import LatentActionModel
from lawm_core.models.blocks import BlockConfig
from lawm_core.shares import Share, normal_rows
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
from lawm_core.training.optimizers import Muon, OptimizerConfig
from lawm_core.training.sampler import SamplerObjective, SamplerObjectiveConfig
from lawm_core.training.trainer import ExecutionConfig, Trainer, TrainerConfig
from lawm_core.worlds.tracks import TwinConfig
from tests.conftest import tiny_config
from tests.ranks import run_ranks

FAMILIES = ("noisy", "sparse", "discrete")
BATCH = BatchConfig(clips=4, lanes=4, frames=3, twins=TwinConfig(frame_size=32, objects=1))
STEPS = 4
IN_PASSES = ("noisy", "decoder")  # whose losses are means over rows
CALM = OptimizerConfig(muon_rate=0.005, adam_rate=1e-3, warm_up=0.1)
SMALL = BlockConfig(width=48, heads=2)
STAGES = {
    "encoder": lambda model: ReconstructionObjective(model, ReconstructionConfig()),
    "masked": lambda model: MaskedObjective(
        model, MaskedConfig(block=SMALL, depth=1, slowness=0.5, reconstruction=1.0)
    ),
    "decoder": lambda model: PictureObjective(model, PictureConfig()),
    "sampler": lambda model: SamplerObjective(model, SamplerObjectiveConfig()),
    **{
        name: lambda model, name=name: LatentActionObjective(model, LatentActionConfig(family=name, cycle=0.3))
        for name in FAMILIES
    },
}


def build(folder: Path, stage: str, parallel: str = "ddp", **how: object) -> tuple[Trainer, LatentActionModel]:
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=FAMILIES))
    source = PairSource(BATCH, None, torch.device("cpu"), seed=1)
    execution = ExecutionConfig(**{"precision": "float32"} | how, parallel=parallel)
    config = TrainerConfig(steps=STEPS, optimizer=CALM, execution=execution)
    return Trainer(STAGES[stage](model), source, config, folder), model


def curve(run: Trainer, steps: int) -> list[list[float]]:
    """The loss of some steps, and the length of its gradient: optimizers hide a wrong one at first."""
    told = [run.train_step() for _ in range(steps)]
    return [[step["loss"], step["gradient"]] for step in told]


def train_and_resume(folder: Path, stage: str, parallel: str = "ddp") -> list[list[float]]:
    """Return a stage's curve: two steps, a save, and two steps of a resumed run. The final model is saved too."""
    run, _ = build(folder / stage, stage, parallel)
    losses = curve(run, 2)
    run.save()
    again, model = build(folder / stage, stage, parallel)
    assert again.resume()
    losses += curve(again, STEPS - 2)
    save_model(model, folder / stage / "model")
    return losses


def work(rank: int, ranks: int, folder: str, parallel: str, stages: tuple[str, ...], options: dict[str, dict]) -> None:
    """Run one of several ranks: train some stages, then resume what one process has saved, and save it in pieces.

    options: runs of two more steps, by name: a stage and the execution options to run it with.
    """
    torch.set_num_threads(1)
    home = Path(folder)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    curves = {stage: train_and_resume(home, stage, parallel) for stage in stages}
    run, _ = build(home / "one", "noisy", parallel, pieces=True)
    assert run.resume() and run.step == 2
    assert any(hasattr(p, "to_local") for p in run.module.parameters()) is (parallel == "fsdp")
    curves["resumed"] = curve(run, 1)
    run.save()
    for name, how in options.items():
        curves[name] = curve(build(home / name, parallel=parallel, **how)[0], 2)
    if rank == 0:
        torch.save(curves, home / "curves.pt")
    torch.distributed.destroy_process_group()


def assert_alike(ours: list[list[float]], theirs: list[list[float]]) -> None:
    """Losses within 1e-4, gradients within a thousandth of their length."""
    (loss, length), (true, true_length) = torch.tensor(ours).T, torch.tensor(theirs).T
    torch.testing.assert_close(loss, true, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(length, true_length, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A function that returns one process's curve of a stage; each stage is trained once."""
    home = tmp_path_factory.mktemp("alone")
    return functools.cache(lambda stage: train_and_resume(home, stage))


def assert_ranks_equal_one_process(alone, folder: Path, ranks: int, parallel: str, stages, options=None) -> None:
    """Compare every curve that `work` writes with one process's, and resume across the forms of a saved run."""
    one, _ = build(folder / "one", "noisy")
    straight = curve(one, 2)
    one.save()
    run_ranks(work, (ranks, str(folder), parallel, stages, options or {}), ranks)
    shared = torch.load(folder / "curves.pt", weights_only=True)
    for stage in stages:
        assert_alike(shared[stage], alone(stage))
        assert load_model(folder / stage / "model").families == FAMILIES
    for name, how in (options or {}).items():
        assert_alike(shared[name], alone(how["stage"])[:2])
    # What one process saved, many went on from; what they saved in pieces, one goes on from.
    assert_alike(straight + shared["resumed"], alone("noisy")[:3])
    (pieces,) = (folder / "one").glob("state-*/")
    assert len(list(pieces.glob("*.safetensors"))) == ranks  # each wrote its own
    last, _ = build(folder / "one", "noisy")
    assert last.resume() and last.step == 3
    assert_alike(curve(last, 1), alone("noisy")[3:])
    last.save()
    assert sorted(p.name for p in (folder / "one").iterdir()) == ["progress.json", "state.safetensors"]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_take_the_steps_of_one(alone, tmp_path, parallel):
    assert_ranks_equal_one_process(alone, tmp_path, 2, parallel, ("discrete",))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_ranks_takes_the_steps_of_one_in_every_stage(alone, tmp_path, ranks, parallel):
    assert_ranks_equal_one_process(alone, tmp_path, ranks, parallel, tuple(STAGES))


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_in_passes_compiled_or_recomputing_take_the_steps_of_one(alone, tmp_path, parallel):
    options = {f"{stage} in passes": {"stage": stage, "passes": 2} for stage in IN_PASSES}
    options["compiled"] = {"stage": "noisy", "compiled": True, "recompute": True}
    assert_ranks_equal_one_process(alone, tmp_path, 2, parallel, (), options)


def test_lanes_that_ranks_cannot_share_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="4 clips in 3 lanes"):
        dataclasses.replace(BATCH, lanes=3)
    monkeypatch.setattr("lawm_core.shares.ranks", lambda: 3)
    with pytest.raises(ValueError, match="4 lanes cannot be dealt out in 3 shares"):
        PairSource(BATCH, None, torch.device("cpu"), seed=0).draw(0)


@pytest.mark.parametrize("passes", [2, 4])
@pytest.mark.parametrize("stage", IN_PASSES)
def test_a_step_in_passes_is_a_step(alone, tmp_path, stage, passes):
    assert_alike(curve(build(tmp_path, stage, passes=passes)[0], 2), alone(stage)[:2])


@pytest.mark.parametrize("stage", sorted(set(STAGES) - set(IN_PASSES)))
def test_every_stage_takes_passes(tmp_path, stage):
    """Those with statistics of a batch too, which are then of a pass."""
    told = torch.tensor(curve(build(tmp_path, stage, passes=2)[0], 2))
    assert told.isfinite().all() and (told > 0).all()


@pytest.mark.parametrize("stage", ["encoder", "discrete", "sampler"])
def test_running_statistics_move_by_steps_and_not_by_passes(tmp_path, stage):
    """Here each pass has about what the whole batch has; at full pace, four would move four times as far."""
    moved = {}
    for passes in (1, 4):
        run, model = build(tmp_path / str(passes), stage, passes=passes)
        buffers = {name: x for name, x in model.named_buffers() if name.endswith(("std", "std_A", "idle_K", "use_K"))}
        before = {name: x.clone() for name, x in buffers.items()}
        curve(run, 2)
        moved[passes] = {name: (x - before[name]).abs().max() for name, x in buffers.items() if x.isfinite().all()}
    known = {name: far for name, far in moved[1].items() if far > 0}
    assert known
    for name, far in known.items():
        assert 0.5 * far < moved[4][name] < 2 * far, name


def test_a_rows_chance_is_its_own_however_a_batch_is_cut(monkeypatch):
    def drawn(count: int) -> torch.Tensor:
        """A batch of 8 clips, sources on top of targets, drawn by so many shares one after another."""
        parts = []
        for index in range(count):
            monkeypatch.setattr("lawm_core.shares.share", lambda index=index: Share(index, count))
            torch.manual_seed(1)
            parts.append(normal_rows(16 // count, 3, device=torch.device("cpu"), stacks=2).unflatten(0, (2, -1)))
        return torch.cat(parts, dim=1).flatten(0, 1)

    whole = drawn(1)
    assert all(torch.equal(drawn(count), whole) for count in (2, 4, 8))
    assert len(whole.unique()) == whole.numel() and abs(whole.mean()) < 0.5


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_muon_does_what_torchs_does(precision):
    """PyTorch's orthogonalises in bf16, one matrix after another; ours, matrices of one shape together."""
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((6, 4), (4, 9), (6, 4), (5, 5))]
    ours, theirs = ([torch.nn.Parameter(m.clone()) for m in start] for _ in range(2))
    mine = Muon(ours, lr=0.02, weight_decay=0.1, precision=precision)
    pair = mine, torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95)
    for _ in range(3):
        for matrices, optimizer in zip((ours, theirs), pair, strict=True):
            torch.manual_seed(7)
            for matrix in matrices:
                matrix.grad = torch.randn_like(matrix)
            optimizer.step()
    for one, other, begun in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(one - begun, other - begun, atol=1e-3, rtol=0.05)  # three steps of .02


def test_a_save_that_was_cut_off_is_not_taken_for_one(tmp_path):
    run, _ = build(tmp_path, "noisy", pieces=True)
    curve(run, 1)
    run.save()
    (tmp_path / ".state-unfinished").mkdir()
    again, _ = build(tmp_path, "noisy", pieces=True)
    assert again.resume() and again.step == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["progress.json", "state-1"]


@pytest.mark.parametrize("pieces", [False, True])
def test_a_fresh_run_in_an_old_ones_folder_is_gone_on_with_and_not_the_old_one(tmp_path, pieces):
    old, _ = build(tmp_path, "noisy", pieces=True)
    curve(old, 2)
    old.save()
    fresh, _ = build(tmp_path, "noisy", pieces=pieces)
    curve(fresh, 1)
    fresh.save()
    again, _ = build(tmp_path, "noisy")
    assert again.resume() and again.step == 1
    assert len([p for p in tmp_path.iterdir() if p.name != "progress.json"]) == 1


def test_the_same_step_of_another_run_does_not_stand_in_for_a_save(tmp_path):
    for seed_of in ("noisy", "sparse"):
        run, _ = build(tmp_path, seed_of, pieces=True)
        curve(run, 1)
        run.save()
    again, _ = build(tmp_path, "sparse")
    assert again.resume() and again.step == 1


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_piece_that_is_missing_or_cut_is_noticed(tmp_path, damage):
    run, _ = build(tmp_path, "noisy", pieces=True)
    run.save()
    piece = next(tmp_path.glob("state-0/*.safetensors"))
    piece.unlink() if damage == "gone" else piece.write_bytes(piece.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="missing or not whole"):
        build(tmp_path, "noisy")[0].resume()


@pytest.mark.slow
def test_torchrun_trains_a_recipe_from_the_shell(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "lawm_core", "train", "encoder", "--steps", "2", "--quiet", "--out", str(tmp_path)]
    told = {"capture_output": True, "text": True, "timeout": 300, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    done = subprocess.run(command, **told)
    assert done.returncode == 0, done.stderr
    (last,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))  # one rank speaks
    assert last["stage"] == "encoder" and last["step"] == 2
    assert load_model(tmp_path / "model").name == "nano256"  # the default recipe
