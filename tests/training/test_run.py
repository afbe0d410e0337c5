"""Training runs: stages on one data set, in one folder."""

import pytest
import torch

from lawm_core.bulk.shard_writer import ShardConfig, write_shards
from lawm_core.checkpoint import load_model
from lawm_core.data.clip_dataset import cache_config
from lawm_core.simulation.recorder import RecorderConfig, record
from lawm_core.training.recipes import find_recipe
from lawm_core.training.run import RunConfig, TrainingRun
from lawm_core.training.trainer import ExecutionConfig
from lawm_core.video.files import write_clip
from tests.training.toy_robots import ToyWorld

TINY = "tests.training.toy_recipes:tiny_recipe"


@pytest.fixture(scope="module")
def robot_video(tmp_path_factory):
    """Episodes of a toy robot, a bright square."""
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyWorld(), out, RecorderConfig(episodes=6, frames=8, val_fraction=0.34), "go")


@pytest.fixture
def videos(tmp_path):
    """A folder with one grey video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "grey.mp4", torch.full((24, 3, 80, 80), 0.5), 12)
    return folder


def build(tmp_path, **changes) -> TrainingRun:
    config = RunConfig(cache=tmp_path / "cache", show_progress=False, **changes)
    return TrainingRun(TINY, tmp_path / "run", config, "cpu")


def is_robot(frame_BTCHW: torch.Tensor) -> torch.Tensor:
    """Whether clips show the toy robot's bright square, (B,)."""
    return frame_BTCHW.flatten(1).amax(dim=1) > 0.7


# ---- stages ---------------------------------------------------------------------------------------------------------


def test_stages_are_selected_by_name_and_family(tmp_path):
    run = build(tmp_path)
    assert run.stages()[:3] == ["encoder", "flow", "lam-noisy"]
    assert run.stages("lam") == ["lam-noisy", "lam-sparse", "lam-discrete"]
    assert run.stages("lam", "sparse") == ["lam-sparse"] and run.stages("all", "sparse") == [
        "lam-sparse",
        "sampler-sparse",
    ]
    with pytest.raises(
        ValueError, match="stage 'lam' of family 'vivid' is not in this recipe; its stages are encoder, flow"
    ):
        run.stages("lam", "vivid")


def test_impossible_splits_are_refused_before_the_first_stage(tmp_path):
    run = build(tmp_path, execution=ExecutionConfig(grad_accum_steps=3))
    with pytest.raises(ValueError, match=r"num_shards=2 must be divisible by world_size \* grad_accum_steps = 3"):
        run.stages()


def test_stages_build_on_each_other_and_a_run_resumes(tmp_path):
    run = build(tmp_path)
    assert run.train("encoder", steps=1)["step"] == 1
    encoder = load_model(tmp_path / "run" / "model").encoder.state_dict()
    assert run.train("lam-noisy", steps=1)["step"] == 1
    assert not run.is_finished("lam-noisy", 1, steps=2) and run.is_finished("lam-noisy", 2, steps=2)
    assert build(tmp_path).train("lam-noisy", steps=2, resume=True)["step"] == 2
    after = load_model(tmp_path / "run" / "model").encoder.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in encoder.items())


def test_family_starts_from_the_first_one(tmp_path):
    run = build(tmp_path)
    run.train("lam-noisy", steps=1)
    noisy = load_model(tmp_path / "run" / "model").families["noisy"].world_model.embed_state.weight
    run.train("lam-sparse", steps=1)
    model = load_model(tmp_path / "run" / "model")
    sparse = model.families["sparse"].world_model.embed_state.weight
    other = model.families["discrete"].world_model.embed_state.weight
    assert (sparse - noisy).abs().max() < 0.02 < (other - noisy).abs().max()


def test_new_model_is_initialised_from_another_run(tmp_path):
    first = build(tmp_path)
    first.train("encoder", steps=1)
    config = RunConfig(init_from=tmp_path / "run" / "model", show_progress=False)
    TrainingRun(TINY, tmp_path / "second", config, "cpu").train("flow", steps=1)
    one, other = (load_model(tmp_path / name / "model").encoder.state_dict() for name in ("run", "second"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# ---- data -----------------------------------------------------------------------------------------------------------


def test_data_set_is_found_by_import_path(tmp_path):
    run = build(tmp_path, data="tests.training.toy_recipes:GreyDataset")
    assert (run.dataset.draw(2, 3, torch.Generator()) == 0.25).all()
    for stage in ("encoder", "lam-noisy", "decoder"):  # at the frame size and at the picture size, with motion
        assert run.train(stage, steps=1)["step"] == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("tests.training.toy_recipes:NoDataset", "must return a VideoDataset, got NoDataset"),
        ("tests.training.toy_recipes:Gone", "cannot be imported"),
    ],
)
def test_anything_else_is_refused_as_data(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, data=data)


def test_shards_serve_every_stage(videos, tmp_path):
    model = find_recipe(TINY).model
    config = cache_config(model.frames_per_second, model.encoder.frame_size, model.picture_size)
    write_shards(videos, tmp_path / "shards", ShardConfig(frames=config))
    run = build(tmp_path, data=tmp_path / "shards")
    for stage in ("encoder", "decoder"):  # at the frame size and at the picture size
        assert run.train(stage, steps=1)["step"] == 1


def test_shards_that_are_too_small_for_the_decoder_are_refused(videos, tmp_path):
    write_shards(videos, tmp_path / "shards", ShardConfig(frames=cache_config(6.0, 32)))
    with pytest.raises(ValueError, match="at least 64 pixels, got 12 frames per second and 40 pixels"):
        build(tmp_path, data=tmp_path / "shards")


def test_robot_video_joins_the_other_clips_without_its_labels(robot_video, videos, tmp_path):
    run = build(tmp_path, data=videos, robot_video=[robot_video], robot_fraction=0.4)
    clips_BTCHW = torch.cat([run.dataset.resized(32).draw(50, 3, torch.Generator().manual_seed(s)) for s in range(4)])
    assert 0.3 < is_robot(clips_BTCHW).float().mean() < 0.5
    for stage in ("lam-noisy", "decoder"):  # at the frame size and at the picture size
        assert run.train(stage, steps=1)["step"] == 1


def test_robot_video_can_be_the_only_data(robot_video, tmp_path):
    run = build(tmp_path, robot_video=[robot_video])
    assert is_robot(run.dataset.resized(32).draw(4, 3, torch.Generator())).all()


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_impossible_robot_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=r"robot_fraction must be in \(0, 1\], got "):
        RunConfig(robot_fraction=fraction)


def test_recipe_that_trains_its_own_encoder_takes_no_pretrained_one(tmp_path):
    with pytest.raises(ValueError, match="trains its own encoder and takes no pretrained one"):
        build(tmp_path, pretrained_encoder="somewhere")
