"""Models on disk: what is saved comes back; what is broken is refused with a reason."""

import copy
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lawm_core import checkpoint, saving
from lawm_core.checkpoint import list_models, load_model, save_model
from lawm_core.contracts import CheckpointError
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from lawm_core.models.policy import PolicyConfig
from tests.conftest import tiny_config


@pytest.fixture
def folder(tiny_model, tmp_path):
    return save_model(tiny_model, tmp_path / "tiny")


def test_round_trip_is_exact(tiny_model, folder, frames):
    again = load_model(folder)
    assert again.config == tiny_model.config
    assert torch.equal(again.encode(frames), tiny_model.encode(frames))
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), tiny_model.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("half", [False, True])
def test_a_loaded_model_is_the_one_that_is_built_and_filled_the_plain_way(tmp_path, half):
    """Parameters and buffers, those that files hold and those that are computed."""
    torch.manual_seed(0)
    first = LatentActionModel(tiny_config(families=("noisy", "sparse", "discrete", "unconstrained")))
    first.add_robot("arm", ControllerConfig())
    first.add_policy("arm", PolicyConfig())
    folder = save_model(first, tmp_path / "tiny", half=half)
    plain = LatentActionModel(first.config)
    for shard in folder.glob("*.safetensors"):
        for name, tensor in load_file(shard).items():
            plain.state_dict()[name].copy_(tensor)
    loaded = load_model(folder)
    for kind in ("named_parameters", "named_buffers"):
        expected, found = dict(getattr(plain, kind)()), dict(getattr(loaded, kind)())
        assert expected and list(found) == list(expected)
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype and found[name].device == tensor.device, name
            assert torch.equal(found[name], tensor), name
    assert set(dict(plain.named_buffers())) - set(plain.state_dict()), "some are computed"


def test_a_loaded_model_can_be_trained_and_its_files_stay_as_they_are(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = load_model(folder).requires_grad_(True)
    with torch.no_grad():
        for weight in model.parameters():
            assert weight.is_leaf and weight.requires_grad
            weight.add_(1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_loading_imports_no_compiler(folder):
    script = (
        "import sys; from lawm_core.checkpoint import load_model; load_model(sys.argv[1])\n"
        "assert not {'torch._dynamo', 'torch._inductor', 'sympy', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, folder], check=True)


def test_large_finite_weights_are_not_taken_for_infinite_ones():
    assert checkpoint.all_finite(torch.full((4,), 3e38))
    assert not checkpoint.all_finite(torch.tensor([float("inf"), -float("inf")]))
    assert not checkpoint.all_finite(torch.tensor([1.0, float("nan")]))


def test_half_the_bytes_and_nearly_the_same_model(tiny_model, folder, frames, tmp_path):
    packed = save_model(tiny_model, tmp_path / "packed", half=True)
    sizes = [sum(p.stat().st_size for p in f.glob("*.safetensors")) for f in (packed, folder)]
    assert sizes[0] < 0.75 * sizes[1]
    again = load_model(packed)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    assert (again.encode(frames) - tiny_model.encode(frames)).abs().max() < 1e-2


def test_a_weight_too_large_for_half_precision_is_not_lost_silently(tiny_model, tmp_path):
    heavy = copy.deepcopy(tiny_model)
    name, weight = next(iter(heavy.named_parameters()))
    torch.nn.init.constant_(weight, 1e6)
    with pytest.raises(ValueError, match=name):
        save_model(heavy, tmp_path / "packed", half=True)


def test_weights_are_split_into_small_shards(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    folder = save_model(tiny_model, tmp_path / "tiny")
    assert len(list(folder.glob("*.safetensors"))) > 2
    load_model(folder)


def test_saving_again_leaves_no_old_shard(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    folder = save_model(tiny_model, tmp_path / "tiny")
    monkeypatch.undo()
    save_model(tiny_model, folder)
    assert [p.name for p in folder.glob("*.safetensors")] == ["model-01-of-01.safetensors"]
    load_model(folder)


def test_a_save_that_breaks_off_among_its_names_is_refused(tiny_model, tmp_path, monkeypatch):
    """The shapes of both models are the same: only the sums can tell that they are mixed."""
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    folder = save_model(tiny_model, tmp_path / "tiny")
    other, named, replace = copy.deepcopy(tiny_model), [], saving.os.replace
    with torch.no_grad():
        for weight in other.parameters():
            weight += 1

    def break_off(*paths):
        named.append(paths)
        if len(named) > 3:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(saving.os, "replace", break_off)
    with pytest.raises(KeyboardInterrupt):
        save_model(other, folder)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        load_model(folder)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "card.txt"
    saving.write_text(path, "old")
    with pytest.raises(RuntimeError), saving.atomic_path(path) as part:
        open(part, "w").write("half")
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("room", "moment"), [(checkpoint, "save_file"), (saving, "sync")])
def test_a_full_disk_leaves_the_last_good_file(tmp_path, monkeypatch, room, moment):
    path = tmp_path / "state.safetensors"
    checkpoint.write_tensors(path, {"x": torch.ones(3)})
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room, moment, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write_tensors(path, {"x": torch.zeros(300)})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_file_and_its_name_are_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(saving, "sync", lambda path: done.append(Path(path)))
    replace = saving.os.replace
    monkeypatch.setattr(saving.os, "replace", lambda *paths: done.append("named") or replace(*paths))
    saving.write_text(tmp_path / "card.md", "good")
    content, named, names = done
    assert named == "named" and content.parent == names == tmp_path and content != names


def test_models_are_listed_default_first(tiny_model, tmp_path):
    for name in ("a", "b"):
        save_model(tiny_model, tmp_path / name)
    assert list_models(tmp_path) == ["a", "b"]
    (tmp_path / "default.txt").write_text("b\n")
    assert list_models(tmp_path) == ["b", "a"]


def shard(folder):
    return next(folder.glob("*.safetensors"))


def unsummed(folder):
    """Without sums, as a folder from elsewhere may be: what else is there to notice damage?"""
    (folder / "SHA256SUMS").unlink()


def flip(folder):
    data = bytearray(shard(folder).read_bytes())
    data[-100] ^= 4
    shard(folder).write_bytes(data)


def poison(folder):
    save_file(load_file(shard(folder)) | {"encoder.head.bias": torch.full((4,), torch.nan)}, shard(folder))


def cut(folder):
    shard(folder).write_bytes(shard(folder).read_bytes()[:5000])


def drop(folder):
    tensors = load_file(shard(folder))
    tensors.pop("encoder.head.weight")
    save_file(tensors, shard(folder))


def add(folder):
    save_file(load_file(shard(folder)) | {"extra": torch.ones(2)}, shard(folder))


def reshape(folder):
    save_file(load_file(shard(folder)) | {"encoder.head.bias": torch.ones(99)}, shard(folder))


def remove(folder):
    shard(folder).unlink()


def config(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def not_json(folder):
    (folder / "config.json").write_text("{name: tiny")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "not the file that SHA256SUMS names"),
        (flip, "not the file that SHA256SUMS names"),
    ],
)
def test_damage_shows_in_the_sums(folder, damage, reason):
    damage(folder)
    with pytest.raises(CheckpointError, match=reason):
        load_model(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "not a whole safetensors"),
        (poison, "not finite"),
        (drop, "lacks 1 of"),
        (add, "does not have"),
        (reshape, r"is \(99,\); needed: \(4,\)"),
        (remove, "holds no"),
        (not_json, "cannot be read as JSON"),
        (config(format=99), "format 1"),
        (config(colour="red"), "no field 'colour'"),
        (config(frames_per_second="fast"), "frames_per_second is 'fast'"),
        (config(encoder={"width": 10**9}), "65536"),
        (config(encoder={"frame_size": 30}), "multiple"),
        (config(families={}), "at least one family"),
        (config(encoder={"depth": 60_000}), "60000 parts"),
        (config(encoder={"patch_size": 0}), "does not describe a model"),
        (config(encoder={"cells": 0}), "does not describe a model"),
    ],
)
def test_damage_is_refused_with_its_reason(folder, damage, reason):
    unsummed(folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=reason):
        load_model(folder)


def test_nothing_is_allocated_for_a_config_that_its_files_do_not_fill(folder):
    """A config of a few lines may ask for gigabytes."""
    unsummed(folder)
    fields = json.loads((folder / "config.json").read_text())
    changes = ({"width": 32_768}, {"channels": 60_000}, {"frame_size": 65_536, "patch_size": 64})
    folders = [folder.with_name(f"{folder.name}-{number}") for number in range(len(changes))]
    for other, change in zip(folders, changes, strict=True):
        shutil.copytree(folder, other)
        config(encoder=fields["encoder"] | change)(other)
    script = (
        "import resource, sys; from lawm_core.checkpoint import load_model; from lawm_core.contracts import *\n"
        "for folder in sys.argv[1:]:\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    try: load_model(folder)\n"
        "    except CheckpointError as error: refused = bool(str(error))\n"
        "    else: refused = False\n"
        "    print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True, check=True)
    told = [line.split() for line in done.stdout.splitlines()]
    assert len(told) == len(changes)
    for change, (refused, kibibytes) in zip(changes, told, strict=True):
        assert refused == "True" and int(kibibytes) < 200 * 1024, change  # torch itself grows when it is first used


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(CheckpointError, match="neither a folder"):
        load_model("no-such-model")
