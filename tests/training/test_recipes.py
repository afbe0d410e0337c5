"""Every recipe can be built, its batches can be drawn and split, and recipes can come from outside the package."""

from dataclasses import replace

import pytest

from lawm_core.batch_slice import BatchSlice
from lawm_core.meta_init import MetaInit
from lawm_core.model import LatentActionModel
from lawm_core.training.batches import PairSource
from lawm_core.training.recipes import RECIPES, TrainingRecipe, find_recipe
from lawm_core.training.run import TrainingRun
from tests.training.toy_recipes import tiny_recipe
from tests.training.toy_stages import CPU

every_recipe = pytest.mark.parametrize("name", RECIPES)
TINY = "tests.training.toy_recipes:tiny_recipe"


@every_recipe
def test_model_and_losses_of_every_stage_can_be_built(name):
    """On the meta device, without allocating weights."""
    recipe = find_recipe(name)
    with MetaInit(max_bytes=2**31):
        model = LatentActionModel(recipe.model)
        for stage in recipe.stages.values():
            loss = stage.loss(model)
            assert callable(loss.losses)
            assert any(weight.is_meta for weight in loss.trained().parameters())
    assert model.name in (name, name.partition("_")[0])


@every_recipe
def test_stages_of_every_recipe_cover_the_model(name):
    recipe = find_recipe(name)
    with_sampler = {f"sampler-{family}" for family, config in recipe.model.families.items() if config.sampler}
    expected = {"flow", "decoder", *with_sampler, *(f"lam-{family}" for family in recipe.model.families)}
    assert set(recipe.stages) - {"encoder"} == expected
    assert ("encoder" in recipe.stages) != bool(recipe.pretrained_encoder)


@every_recipe
def test_synthetic_scenes_have_the_size_that_each_stage_needs(name):
    """They are concatenated with real clips."""
    recipe = find_recipe(name)
    sizes = {stage: config.batch.scenes.frame_size for stage, config in recipe.stages.items()}
    assert sizes.pop("decoder") == recipe.model.picture_size
    assert set(sizes.values()) == {recipe.model.encoder.frame_size}


@every_recipe
def test_batches_of_every_stage_are_drawn_in_shards(name):
    for full in {stage.batch for stage in find_recipe(name).stages.values()}:
        scenes = replace(full.scenes, objects=1, background_pixels=48, object_pixels=16)
        config = replace(full, frames=2, scenes=scenes)  # for speed
        batch = PairSource(config, None, CPU, seed=0).draw(0, BatchSlice(0, config.num_shards))
        size, clips = config.scenes.frame_size, config.clips // config.num_shards
        assert clips * config.num_shards == config.clips
        assert batch.source_BTCHW.shape == batch.target_BTCHW.shape == (clips, 2, 3, size, size)
        assert (batch.motion is not None) == (config.motion_grid > 0)
        if batch.motion:
            assert batch.motion.flow_BU2HW.shape == (clips, 1, 2, config.motion_grid, config.motion_grid)


@every_recipe
def test_every_stage_can_be_split_over_two_ranks(name):
    for stage in find_recipe(name).stages.values():
        stage.batch.check_divisible(2)
        assert stage.batch.clips % 2 == stage.batch.num_shards % 2 == 0


@every_recipe
def test_losses_that_need_motion_have_it(name):
    for stage, config in find_recipe(name).stages.items():
        needs_motion = not stage.startswith(("encoder", "sampler"))
        assert config.batch.motion_grid > 0 or not needs_motion


def test_families_after_the_first_start_from_it():
    stages = find_recipe("nano256").stages
    assert [name for name in stages if name.startswith("lam-")] == ["lam-noisy", "lam-sparse", "lam-discrete"]
    assert stages["lam-noisy"].start is None and stages["lam-sparse"].start and stages["lam-discrete"].start
    assert not any(stage.start for stage in find_recipe("large").stages.values())  # as in the paper


# ---- recipes from outside the package -------------------------------------------------------------------------------


def test_recipe_is_found_by_import_path():
    recipe = find_recipe(TINY)
    assert isinstance(recipe, TrainingRecipe) and recipe.model == tiny_recipe().model


def test_recipe_by_import_path_is_trained(tmp_path):
    run = TrainingRun(TINY, tmp_path, device="cpu")
    assert run.train("flow", steps=1)["step"] == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", r"recipe must be one of nano256, .* or package.module:function, got 'gone'"),
        ("tests.training.toy_recipes:no_recipe", "must return a TrainingRecipe, got ModelConfig"),
        ("tests.training.toy_stages:CPU", "must return a TrainingRecipe, got device"),
        ("tests.training.toy_recipes:gone", "cannot be imported"),
        ("tests.training.gone:recipe", "cannot be imported"),
        (":recipe", "cannot be imported"),
    ],
)
def test_anything_else_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        find_recipe(name)
