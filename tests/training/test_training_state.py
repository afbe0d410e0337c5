"""Checkpoints of training runs: both formats, damage, and leftovers of other runs."""

import errno
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lawm_core import checkpoint
from lawm_core.types import CheckpointError
from tests.training.toy_stages import build_trainer

FORMATS = pytest.mark.parametrize("sharded", [False, True])


def build(folder, stage: str = "noisy", sharded: bool = False):
    return build_trainer(folder, stage, execution={"sharded_checkpoint": sharded})[0]


@FORMATS
def test_either_format_restores_all_tensors(tmp_path, sharded):
    saved = build(tmp_path, sharded=sharded)
    saved.train_step()
    saved.save()
    resumed = build(tmp_path)
    assert resumed.resume() and resumed.step == 1
    before, after = saved.state.tensors(1), resumed.state.tensors(1)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_progress_names_step_precision_and_settings(tmp_path):
    trainer = build(tmp_path)
    trainer.train_step()
    trainer.save()
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert progress["step"] == 1 and progress["save"] == "state.safetensors" and progress["precision"] == "float32"
    assert progress["config"]["execution"]["grad_accum_steps"] == 1


def test_empty_folder_has_nothing_to_resume(tmp_path):
    assert not build(tmp_path).resume()


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "without step"])
def test_damaged_file_is_refused_with_advice(tmp_path, damage):
    build(tmp_path).save()
    path = tmp_path / "state.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        save_file({name: tensor for name, tensor in load_file(path).items() if name != "step"}, path)
    with pytest.raises(CheckpointError, match="delete it to start over"):
        build(tmp_path).resume()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_missing_or_truncated_shard_is_refused(tmp_path, damage):
    build(tmp_path, sharded=True).save()
    shard = next(tmp_path.glob("state-0/*.safetensors"))
    shard.unlink() if damage == "missing" else shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="missing or truncated"):
        build(tmp_path).resume()


@FORMATS
def test_checkpoint_of_another_stage_is_refused(tmp_path, sharded):
    build(tmp_path, "decoder", sharded).save()
    with pytest.raises(CheckpointError, match="another model or stage"):
        build(tmp_path, "noisy").resume()


def test_full_disk_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    trainer = build(tmp_path)
    write, saves = checkpoint.save_file, []

    def fill_up(*arguments):
        saves.append(1)
        if len(saves) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", fill_up)
    with pytest.raises(OSError, match="No space left"):
        trainer.run(show_progress=False)
    monkeypatch.undo()
    resumed = build(tmp_path)
    assert resumed.resume() and resumed.step == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["progress.json", "state.safetensors"]


# ---- leftovers ------------------------------------------------------------------------------------------------------


def test_unfinished_checkpoint_is_not_used(tmp_path):
    trainer = build(tmp_path, sharded=True)
    trainer.train_step()
    trainer.save()
    (tmp_path / ".state-unfinished").mkdir()
    resumed = build(tmp_path, sharded=True)
    assert resumed.resume() and resumed.step == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["progress.json", "state-1"]


@FORMATS
def test_new_run_replaces_the_checkpoints_of_an_old_one(tmp_path, sharded):
    old = build(tmp_path, sharded=True)
    for _ in range(2):
        old.train_step()
    old.save()
    new = build(tmp_path, sharded=sharded)
    new.train_step()
    new.save()
    resumed = build(tmp_path)
    assert resumed.resume() and resumed.step == 1
    assert len([p for p in tmp_path.iterdir() if p.name != "progress.json"]) == 1


def test_checkpoint_of_the_same_step_of_another_run_is_not_kept(tmp_path):
    for stage in ("noisy", "sparse"):
        trainer = build(tmp_path, stage, sharded=True)
        trainer.train_step()
        trainer.save()
    resumed = build(tmp_path, "sparse")
    assert resumed.resume() and resumed.step == 1


# ---- precision ------------------------------------------------------------------------------------------------------


def test_run_does_not_change_its_precision_unnoticed(tmp_path, monkeypatch):
    build(tmp_path).save()
    monkeypatch.setattr("lawm_core.training.trainer.pick_shared_precision", lambda name, device: "bf16")
    execution = {"precision": "auto"}
    monkeypatch.delenv("LAWM_PRECISION", raising=False)
    with pytest.raises(CheckpointError, match="was trained in float32; the automatic choice on this machine is bf16"):
        build_trainer(tmp_path, execution=execution)[0].resume()
    assert build_trainer(tmp_path, execution={"precision": "bf16"})[0].resume()
