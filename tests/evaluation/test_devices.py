"""The model may be on another device than the clips: inputs are moved there, and results are on the CPU."""

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lawm_core.model import LatentActionModel
from lawm_core.transfer.replay import ClipReference, ReplaySpec, run_spec
from lawm_core.transfer.script import ActionScript, ScriptStep, Term
from lawm_core.transfer.transfer import transfer_actions
from lawm_core.types import Clip
from tests.conftest import TINY_BOTTLENECKS, shake, tiny_config

GPU, CPU = torch.device("cuda"), torch.device("cpu")


class PretendGpu(TorchFunctionMode):
    """Computes on the CPU, but treats tensors with a flag as on a GPU.

    They report that device, results of operations on them have the flag too, and operations that mix them with other
    tensors, except scalars, fail.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if func == Tensor.device.__get__:
            return GPU if on_gpu(args[0]) else CPU
        assert func != Tensor.numpy or not on_gpu(args[0]), "NumPy cannot read tensors on a GPU"
        wanted = CPU if func == Tensor.cpu else kwargs.get("device")
        if func == Tensor.to and isinstance(args[1], str | torch.device):
            wanted, args = args[1], (args[0], CPU, *args[2:])
        if wanted is not None:
            kwargs = {**kwargs, "device": CPU} if "device" in kwargs else kwargs
            out = func(*args, **kwargs)
            return set_flag(out.clone() if any(out is x for x in tensors) else out, torch.device(wanted) == GPU)
        assert len({on_gpu(x) for x in tensors if x.ndim}) < 2, f"{func} was given tensors on two devices"
        gpu = any(map(on_gpu, tensors))
        return tree_map_only(Tensor, lambda x: set_flag(x, gpu), func(*args, **kwargs))


def set_flag(x: Tensor, gpu: bool = True) -> Tensor:
    """Mark a tensor as on the pretended GPU, or not, and return it."""
    x.on_gpu = gpu
    return x


def on_gpu(x: Tensor) -> bool:
    """Return whether a tensor is on the pretended GPU."""
    return getattr(x, "on_gpu", False)


@pytest.fixture(scope="module")
def models() -> tuple[LatentActionModel, LatentActionModel]:
    """Two equal models with all families and references, the second on the pretended GPU."""
    built = []
    for _ in range(2):
        torch.manual_seed(0)
        model = LatentActionModel(tiny_config(window=3, families=tuple(TINY_BOTTLENECKS)))
        shake(model)
        built.append(model.eval().requires_grad_(False))
    for x in (*built[1].parameters(), *built[1].buffers()):
        set_flag(x)
    return tuple(built)


@pytest.fixture
def clips() -> tuple[Clip, Clip]:
    generator = torch.Generator().manual_seed(1)
    return tuple(Clip(frame_TCHW=torch.rand(5, 3, 32, 32, generator=generator), frames_per_second=6) for _ in "ab")


def build_spec(family: str, scripted: bool) -> ReplaySpec:
    """Return the spec of a transfer, or of a script."""
    step = ScriptStep(terms=(Term(action="jump", weight=-2.0),), repeat=4)
    script = {"script": ActionScript(steps=(step,)), "actions": {"jump": (0.5,) * 8}}
    clip = ClipReference(file="a.mp4", sha256="0")
    source = script if scripted else {"source": clip}
    return ReplaySpec(model="tiny", fingerprint="", family=family, capacity=0.6, target=clip, **source)


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("family", TINY_BOTTLENECKS)
def test_results_do_not_depend_on_the_device_of_the_model(models, clips, family, scripted):
    source, target = clips
    given = build_spec(family, scripted), None if scripted else source, target
    on_cpu = run_spec(models[0], *given)
    with PretendGpu():
        assert models[1].device == GPU
        from_gpu = run_spec(models[1], *given)
    for name in ("frame_TCHW", "control_TCHW", "action_UA"):
        assert torch.equal(getattr(on_cpu, name), getattr(from_gpu, name)) and not on_gpu(getattr(from_gpu, name))
    assert on_cpu.scores == from_gpu.scores
    assert not any(on_gpu(clip.frame_TCHW) for clip in clips)


def test_results_with_context_frames_do_not_depend_on_the_device_of_the_model(models, clips):
    with PretendGpu():
        from_gpu = transfer_actions(models[1], *clips, context_frames=2)
    assert torch.equal(from_gpu.frame_TCHW, transfer_actions(models[0], *clips, context_frames=2).frame_TCHW)


def test_pretended_gpu_notices_a_clip_that_was_not_moved(models, clips):
    with PretendGpu(), pytest.raises(AssertionError, match="two devices"):
        models[1].encode(clips[0].frame_TCHW[None])
