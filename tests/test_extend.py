"""The examples of docs/extend.md work as they stand, in a package outside this one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lawm_core.checkpoint import load_model
from lawm_core.cli.main import main
from lawm_core.types import CheckpointError

ROOT = Path(__file__).resolve().parent.parent
MODULES = dict(
    re.findall(r"```python\n# my_lab/(\w+)\.py\n(.*?)```", (ROOT / "docs" / "extend.md").read_text(), re.DOTALL)
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder with the package `my_lab`, which is on the path for the tests of this module."""
    home = tmp_path_factory.mktemp("lab")
    (home / "my_lab").mkdir()
    (home / "my_lab" / "__init__.py").touch()
    for name, code in MODULES.items():
        (home / "my_lab" / f"{name}.py").write_text(code)
    sys.path.insert(0, str(home))
    yield home
    sys.path.remove(str(home))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def trained(lab) -> Path:
    """The model that two steps of each stage of the recipe give."""
    out = lab / "run"
    arguments = ["--recipe", "my_lab.recipes:tiny", "--data", "my_lab.data:Arrays", "--out", str(out)]
    assert main(["train", "all", *arguments, "--steps", "2", "--quiet"]) == 0
    return out / "model"


def test_there_are_four_short_examples():
    assert sorted(MODULES) == ["bottlenecks", "data", "encoders", "recipes"]
    assert all(len(code.strip().splitlines()) <= 40 for code in MODULES.values())


def test_an_external_model_trains_and_its_config_stores_import_paths(trained):
    config = json.loads((trained / "config.json").read_text())
    assert config["encoder"]["kind"] == "my_lab.encoders:DinoConfig"
    assert config["families"]["topk"]["bottleneck"]["kind"] == "my_lab.bottlenecks:TopKConfig"
    assert set(p.name for p in trained.parent.iterdir()) >= {"flow", "lam-topk", "decoder", "model"}


def test_an_external_model_infers_actions_and_rolls_out(trained):
    model = load_model(trained, trust_code=True)
    frame_BTCHW = torch.rand(1, 4, 3, 56, 56)
    bound = model.at("topk", 0.0)
    state_BTND = model.encode(frame_BTCHW)
    action_BUA = bound.infer_actions(state_BTND)
    assert ((action_BUA != 0).sum(dim=-1) <= 1).all(), "capacity 0 keeps one dimension"
    frames = model.render(bound.rollout(state_BTND[:, :1], action_BUA), frame_BTCHW[:, 0])
    assert frames.shape == (1, 3, 3, 56, 56) and frames.isfinite().all()
    assert bound.sample_actions(state_BTND[:, 0], "prior").shape == (1, 32)


def test_code_outside_the_package_is_imported_only_with_permission(lab, trained):
    """In a new process, in which `my_lab` has not been imported."""
    check = (
        "import sys, lawm_core as lawm\n"
        "try:\n    lawm.load_model(sys.argv[1])\n"
        "except lawm.CheckpointError as error:\n    assert 'trust_code=True' in str(error), error\n"
        "else:\n    raise SystemExit('it was loaded')\n"
        "assert not [name for name in sys.modules if name.startswith('my_lab')]\n"
        "lawm.load_model(sys.argv[1], trust_code=True)\n"
        "assert 'my_lab.encoders' in sys.modules\n"
    )
    path = os.pathsep.join([str(lab), str(ROOT)])
    subprocess.run([sys.executable, "-c", check, str(trained)], check=True, env=os.environ | {"PYTHONPATH": path})


def test_an_import_path_that_is_not_a_config_is_refused(trained, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["kind"] = "os:system"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="os:system must be a subclass of FrameGeometry"):
        load_model(folder, trust_code=True)
