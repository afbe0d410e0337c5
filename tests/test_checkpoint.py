"""Models on disk: a saved model is loaded unchanged, and a damaged or dangerous one is refused with a reason."""

import copy
import dataclasses
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lawm_core import atomic_files, checkpoint
from lawm_core.checkpoint import fingerprint, init_from, load_model, save_model
from lawm_core.model import LatentActionModel
from lawm_core.model_folders import check_model, list_models
from lawm_core.models.bottlenecks import UnconstrainedConfig
from lawm_core.models.controller import ControllerConfig
from lawm_core.models.policy import PolicyConfig
from lawm_core.types import CheckpointError
from tests.conftest import build_tiny_model, tiny_config


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    return save_model(tiny_model, tmp_path / "tiny")


# ---- saving and loading ---------------------------------------------------------------------------------------------


def test_a_loaded_model_equals_the_saved_one(tiny_model, folder, frames):
    loaded = load_model(folder)
    assert loaded.config == tiny_model.config
    assert torch.equal(loaded.encode(frames), tiny_model.encode(frames))
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize("half", [False, True])
def test_loading_gives_the_tensors_of_an_ordinary_build(tmp_path, half):
    """Parameters and buffers, stored and computed ones."""
    torch.manual_seed(0)
    saved = LatentActionModel(tiny_config(families=("noisy", "sparse", "discrete", "unconstrained")))
    saved.add_robot("arm", ControllerConfig())
    saved.add_policy("arm", PolicyConfig())
    folder = save_model(saved, tmp_path / "tiny", half=half)
    built = LatentActionModel(saved.config)
    for shard in folder.glob("*.safetensors"):
        for name, tensor in load_file(shard).items():
            built.state_dict()[name].copy_(tensor)
    loaded = load_model(folder)
    for kind in ("named_parameters", "named_buffers"):
        expected, found = dict(getattr(built, kind)()), dict(getattr(loaded, kind)())
        assert expected and list(found) == list(expected)
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype and found[name].device == tensor.device, name
            assert torch.equal(found[name], tensor), name
    assert set(dict(built.named_buffers())) - set(built.state_dict()), "some buffers are computed"


def test_a_loaded_model_can_be_trained_without_changing_its_files(folder):
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


def test_half_precision_nearly_halves_the_files_and_hardly_changes_states(tiny_model, folder, frames, tmp_path):
    packed = save_model(tiny_model, tmp_path / "packed", half=True)
    sizes = [sum(p.stat().st_size for p in f.glob("*.safetensors")) for f in (packed, folder)]
    assert sizes[0] < 0.75 * sizes[1]
    loaded = load_model(packed)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert (loaded.encode(frames) - tiny_model.encode(frames)).abs().max() < 1e-2


def test_a_weight_that_overflows_half_precision_raises(tiny_model, tmp_path):
    heavy = copy.deepcopy(tiny_model)
    name, weight = next(iter(heavy.named_parameters()))
    torch.nn.init.constant_(weight, 1e6)
    with pytest.raises(ValueError, match=f"{name} has values up to 1e.06, but float16 allows up to 65504"):
        save_model(heavy, tmp_path / "packed", half=True)


def test_weights_are_split_into_small_shards(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    folder = save_model(tiny_model, tmp_path / "tiny")
    assert len(list(folder.glob("*.safetensors"))) > 2
    load_model(folder)


def test_saving_again_deletes_old_shards(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    folder = save_model(tiny_model, tmp_path / "tiny")
    monkeypatch.undo()
    save_model(tiny_model, folder)
    assert [p.name for p in folder.glob("*.safetensors")] == ["model-01-of-01.safetensors"]
    load_model(folder)


def test_fingerprints_identify_weights_and_configs(tiny_model, folder, tmp_path):
    assert fingerprint(folder) == fingerprint(save_model(tiny_model, tmp_path / "same"))
    other = copy.deepcopy(tiny_model)
    next(iter(other.parameters())).view(-1)[0] += 1
    assert fingerprint(save_model(other, tmp_path / "other")) != fingerprint(folder)
    change_config(name="renamed")(folder)
    assert fingerprint(folder) != fingerprint(tmp_path / "same")


# ---- interruptions --------------------------------------------------------------------------------------------------


def test_a_save_that_is_interrupted_between_two_files_is_refused(tiny_model, tmp_path, monkeypatch):
    """Both models have the same shapes, so only the checksums show that the folder holds a mixture."""
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 20_000)
    folder = save_model(tiny_model, tmp_path / "tiny")
    other, renamed, replace = copy.deepcopy(tiny_model), [], atomic_files.os.replace
    with torch.no_grad():
        for weight in other.parameters():
            weight += 1

    def interrupt(*paths):
        renamed.append(paths)
        if len(renamed) > 3:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(atomic_files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(other, folder)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="does not match SHA256SUMS"):
        load_model(folder)


@pytest.mark.parametrize(("module", "function"), [(checkpoint, "save_file"), (atomic_files, "sync")])
def test_a_full_disk_leaves_the_last_complete_file(tmp_path, monkeypatch, module, function):
    path = tmp_path / "state.safetensors"
    checkpoint.write_tensors(path, {"x": torch.ones(3)})
    before = path.read_bytes()

    def disk_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, function, disk_full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write_tensors(path, {"x": torch.zeros(300)})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# ---- damage ---------------------------------------------------------------------------------------------------------


def find_shard(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def change_tensors(change):
    """Return a function that writes a folder's tensors again after `change(tensors)`."""

    def apply(folder: Path) -> None:
        tensors = load_file(find_shard(folder))
        change(tensors)
        save_file(tensors, find_shard(folder))

    return apply


def change_config(**changes):
    """Return a function that replaces fields of a folder's config.json."""

    def apply(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def change_encoder(**changes):
    """Return a function that replaces fields of the encoder in a folder's config.json."""
    return lambda folder: change_config(encoder=read_fields(folder)["encoder"] | changes)(folder)


def read_fields(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def flip_bit(folder: Path) -> None:
    data = bytearray(find_shard(folder).read_bytes())
    data[-100] ^= 4
    find_shard(folder).write_bytes(data)


def truncate(folder: Path) -> None:
    find_shard(folder).write_bytes(find_shard(folder).read_bytes()[:5000])


def remove_shard(folder: Path) -> None:
    find_shard(folder).unlink()


def break_json(folder: Path) -> None:
    (folder / "config.json").write_text("{name: tiny")


set_nan = change_tensors(lambda tensors: tensors.update({"encoder.head.bias": torch.full((4,), torch.nan)}))
drop_tensor = change_tensors(lambda tensors: tensors.pop("encoder.head.weight"))
add_tensor = change_tensors(lambda tensors: tensors.update({"extra": torch.ones(2)}))
reshape_tensor = change_tensors(lambda tensors: tensors.update({"encoder.head.bias": torch.ones(99)}))


@pytest.mark.parametrize("damage", [truncate, flip_bit, set_nan, add_tensor])
def test_checksums_reveal_damage(folder, damage):
    damage(folder)
    with pytest.raises(CheckpointError, match="does not match SHA256SUMS; it is damaged or was replaced"):
        load_model(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is not a complete safetensors file"),
        (set_nan, "encoder.head.bias has values that are not finite"),
        (drop_tensor, r"lacks 1 of the \d+ tensors of its config.json; the first is encoder.head.weight"),
        (add_tensor, "has weights for a tensor extra, which the model of config.json does not have"),
        (reshape_tensor, r"encoder.head.bias must have shape \(4,\) by config.json, got \(99,\)"),
        (remove_shard, r"has no \*\.safetensors file"),
        (break_json, "cannot be read as JSON"),
        (change_config(format=99), "must have format 2, got 99. Update lawm_core"),
        (change_config(format=1), "must have format 2, got 1. Models of older versions must be trained again"),
        (change_config(colour="red"), "ModelConfig has no field 'colour'"),
        (change_config(frames_per_second="fast"), "ModelConfig.frames_per_second must be float, got 'fast'"),
        (change_encoder(width=10**9), r"ConvEncoderConfig.width must be in \[0, 65536\], got 1000000000"),
        (change_encoder(frame_size=30), "frame_size=30 must be a multiple of patch_size=8"),
        (change_encoder(kind="unknown"), "ModelConfig.encoder: kind must be one of convolutions, vjepa2"),
        (change_encoder(kind=""), "ModelConfig.encoder: kind must be one of convolutions, vjepa2"),
        (change_config(encoder={}), "ModelConfig.encoder: kind must be one of convolutions, vjepa2"),
        (change_config(families={}), "at least one bottleneck family is required"),
        (change_encoder(depth=60_000), r"describes a model of at least 60000 tensors, but the weight files have \d+"),
        (change_encoder(patch_size=0), "does not describe a model: frame_size=32 must be a multiple of patch_size=0"),
        (change_encoder(subpatches=0), "does not describe a model"),
        (change_config(decoder={"picture_size": 48}), "picture_size=48 must be a multiple of frame_size=32"),
    ],
)
def test_damage_is_refused_with_its_reason(folder, damage, message):
    """Without checksums, as in folders from elsewhere."""
    (folder / "SHA256SUMS").unlink()
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_large_finite_weights_are_accepted():
    assert checkpoint.all_finite(torch.full((4,), 3e38))
    assert not checkpoint.all_finite(torch.tensor([float("inf"), -float("inf")]))
    assert not checkpoint.all_finite(torch.tensor([1.0, float("nan")]))


def test_no_memory_is_allocated_for_a_config_that_is_larger_than_its_files(folder):
    """A config of a few lines can ask for gigabytes."""
    (folder / "SHA256SUMS").unlink()
    changes = ({"width": 32_768}, {"channels": 60_000}, {"frame_size": 65_536, "patch_size": 64})
    folders = [folder.with_name(f"{folder.name}-{number}") for number in range(len(changes))]
    for other, change in zip(folders, changes, strict=True):
        shutil.copytree(folder, other)
        change_encoder(**change)(other)
    script = (
        "import resource, sys; from lawm_core.checkpoint import load_model; from lawm_core.types import *\n"
        "for folder in sys.argv[1:]:\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    try: load_model(folder)\n"
        "    except CheckpointError as error: refused = bool(str(error))\n"
        "    else: refused = False\n"
        "    print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len(changes)
    for change, (refused, kibibytes) in zip(changes, lines, strict=True):
        assert refused == "True" and int(kibibytes) < 200 * 1024, change  # torch itself grows when it is first used


# ---- code outside the package ---------------------------------------------------------------------------------------


def change_bottleneck(folder: Path, bottleneck: dict) -> None:
    """Replace the bottleneck of the noisy family in a folder's config.json."""
    families = read_fields(folder)["families"]
    families["noisy"]["bottleneck"] = bottleneck
    change_config(families=families)(folder)


def test_code_of_a_config_runs_only_if_it_is_trusted(tmp_path, external_module):
    config = tiny_config()
    unconstrained = dataclasses.replace(config.families["noisy"], bottleneck=UnconstrainedConfig(action_width=8))
    torch.manual_seed(0)  # the weights of the family are those that the external bottleneck needs
    model = LatentActionModel(dataclasses.replace(config, families={"noisy": unconstrained})).eval()
    folder = save_model(model, tmp_path / "tiny")
    change_bottleneck(folder, {"kind": f"{external_module}:ScaledConfig", "action_width": 8})
    with pytest.raises(CheckpointError, match=r"needs code from outside lawm_core.* trust_code=True"):
        load_model(folder)
    assert external_module not in sys.modules
    loaded = load_model(folder, trust_code=True)
    assert external_module in sys.modules
    assert loaded.config.families["noisy"].bottleneck.kind == f"{external_module}:ScaledConfig"
    state_BTND = torch.randn(2, 3, 16, 64)
    with torch.no_grad():
        expected, found = (m.at("noisy").infer_actions(state_BTND) for m in (model, loaded))
    torch.testing.assert_close(found, 2 * expected)
    saved = save_model(loaded, tmp_path / "saved")
    assert load_model(saved).config == loaded.config, "a class that has been imported needs no permission"


def test_code_that_cannot_be_imported_or_is_not_a_bottleneck_is_refused(folder, external_module):
    for kind, message in (
        (f"{external_module}:NotAConfig", "must be a subclass of BottleneckConfig"),
        ("no_such_module:Config", "cannot be imported"),
    ):
        change_bottleneck(folder, {"kind": kind})
        with pytest.raises(CheckpointError, match=message):
            load_model(folder, trust_code=True)


# ---- starting from another model ------------------------------------------------------------------------------------


def test_a_model_starts_from_the_parts_of_another_that_fit(tmp_path):
    source = build_tiny_model(families=("noisy", "sparse"))
    folder = save_model(source, tmp_path / "source")
    torch.manual_seed(5)
    model = LatentActionModel(tiny_config(families=("noisy", "discrete"), picture_size=64))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert init_from(model, folder) == ("encoder", "flow_reader", "noisy")
    for name, tensor in model.state_dict().items():
        taken = name.startswith(("encoder.", "flow_reader.", "families.noisy."))
        expected = source.state_dict()[name] if taken else before[name]
        assert torch.equal(tensor, expected), name


def test_a_model_cannot_start_from_another_encoder(folder):
    config = tiny_config()
    wide = LatentActionModel(dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, channels=16)))
    with pytest.raises(CheckpointError, match=r"tiny has no encoder\.stem\.weight of shape \(16, 12, 3, 3\)"):
        init_from(wide, folder)


# ---- finding models -------------------------------------------------------------------------------------------------


def test_models_are_listed_with_the_default_first(tiny_model, tmp_path):
    for name in ("a", "b"):
        save_model(tiny_model, tmp_path / name)
    assert list_models(tmp_path) == ["a", "b"]
    (tmp_path / "default.txt").write_text("b\n")
    assert list_models(tmp_path) == ["b", "a"]


def test_an_unknown_name_raises_with_the_names_of_all_models():
    with pytest.raises(CheckpointError, match=r"a folder with config.json or one of nano256.*, got 'no-such-model'"):
        load_model("no-such-model")


def test_families_are_checked_before_a_model_is_loaded(folder):
    check_model(folder, ("noisy",))
    with pytest.raises(ValueError, match="family must be one of noisy for tiny, got 'vivid'"):
        check_model(folder, ("noisy", "vivid"))
