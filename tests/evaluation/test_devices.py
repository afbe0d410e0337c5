"""The model may lie on another device than the clips: what goes in is moved there, what comes out is on the CPU."""

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lawm_core.contracts import Clip
from lawm_core.evaluation.recipe import ClipReference, Recipe, perform
from lawm_core.evaluation.script import ActionScript, ScriptStep, Term
from lawm_core.evaluation.transfer import transfer
from lawm_core.model import LatentActionModel
from tests.conftest import TINY_LIMITS, shake, tiny_config

GPU, CPU = torch.device("cuda"), torch.device("cpu")


class PretendGpu(TorchFunctionMode):
    """Everything is computed on the CPU, as if tensors with a mark lay on a GPU: they say so, what is made of them lies
    there too, and with others, lone numbers aside, nothing is made of them.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if func == Tensor.device.__get__:
            return GPU if on_gpu(args[0]) else CPU
        assert func != Tensor.numpy or not on_gpu(args[0]), "NumPy cannot read what is on a GPU"
        wanted = CPU if func == Tensor.cpu else kwargs.get("device")
        if func == Tensor.to and isinstance(args[1], str | torch.device):
            wanted, args = args[1], (args[0], CPU, *args[2:])
        if wanted is not None:
            kwargs = {**kwargs, "device": CPU} if "device" in kwargs else kwargs
            out = func(*args, **kwargs)
            return mark(out.clone() if any(out is x for x in tensors) else out, torch.device(wanted) == GPU)
        assert len({on_gpu(x) for x in tensors if x.ndim}) < 2, f"{func} was given tensors of two devices"
        gpu = any(map(on_gpu, tensors))
        return tree_map_only(Tensor, lambda x: mark(x, gpu), func(*args, **kwargs))


def mark(x: Tensor, gpu: bool = True) -> Tensor:
    """Itself, as if it lay there."""
    x.on_gpu = gpu
    return x


def on_gpu(x: Tensor) -> bool:
    return getattr(x, "on_gpu", False)


@pytest.fixture(scope="module")
def models() -> tuple[LatentActionModel, LatentActionModel]:
    """The same model twice, the second as if on a GPU; of every family and reference."""
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        model = LatentActionModel(tiny_config(window=3, families=tuple(TINY_LIMITS)))
        shake(model)
        made.append(model.eval().requires_grad_(False))
    for x in (*made[1].parameters(), *made[1].buffers()):
        mark(x)
    return tuple(made)


@pytest.fixture
def clips() -> tuple[Clip, Clip]:
    generator = torch.Generator().manual_seed(1)
    return tuple(Clip(frame_TCHW=torch.rand(5, 3, 32, 32, generator=generator), frames_per_second=6) for _ in "ab")


def recipe(family: str, scripted: bool) -> Recipe:
    step = ScriptStep(terms=(Term(action="jump", weight=-2.0),), repeat=4)
    what = {"script": ActionScript(steps=(step,)), "actions": {"jump": (0.5,) * 8}}
    clip = ClipReference(file="a.mp4", sha256="0")
    given = what if scripted else {"source": clip}
    return Recipe(model="tiny", fingerprint="", family=family, capacity=0.6, target=clip, **given)


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("family", TINY_LIMITS)
def test_a_result_is_the_same_wherever_the_model_lies(models, clips, family, scripted):
    source, target = clips
    what = recipe(family, scripted), None if scripted else source, target
    here = perform(models[0], *what)
    with PretendGpu():
        assert models[1].device == GPU
        there = perform(models[1], *what)
    for name in ("frame_TCHW", "control_TCHW", "action_UA"):
        assert torch.equal(getattr(here, name), getattr(there, name)) and not on_gpu(getattr(there, name))
    assert here.scores == there.scores
    assert not any(on_gpu(clip.frame_TCHW) for clip in clips)


def test_so_it_is_with_more_than_one_given_frame(models, clips):
    with PretendGpu():
        there = transfer(models[1], *clips, context_frames=2)
    assert torch.equal(there.frame_TCHW, transfer(models[0], *clips, context_frames=2).frame_TCHW)


def test_a_clip_that_was_not_moved_would_be_seen(models, clips):
    with PretendGpu(), pytest.raises(AssertionError, match="two devices"):
        models[1].encode(clips[0].frame_TCHW[None])
