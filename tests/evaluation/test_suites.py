"""Suites on toys with known scores, and the whole report on a tiny model."""

import json

import pytest
import torch
from plotly.offline import get_plotlyjs

from lawm_core.data.clip_dataset import ClipDataset, build_cache, cache_config
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.leakage import cross_validate, cut_score
from lawm_core.evaluation.locality import moving_tokens, overlap
from lawm_core.evaluation.report import write_report
from lawm_core.evaluation.sampling import classifier_accuracy
from lawm_core.evaluation.scores import Setting, mean_score, ratio_score
from lawm_core.evaluation.suites import SUITES, run_suites
from lawm_core.evaluation.synthetic import effect, efficiency, error_vs_copying, roll_out_pairs, score_pairs
from lawm_core.model import LatentActionModel
from lawm_core.types import Rollout
from lawm_core.video.files import write_clip
from tests.conftest import shake, tiny_config

SETTING = Setting("noisy", 1.0)
GRID = 8


class Toy:
    """A model with one family, whose states are pixels. Subclasses define what an action is and what it does."""

    family_names, reference_names, frame_size, picture_size, frames_per_second = ("noisy",), (), GRID, GRID, 6.0
    device = torch.device("cpu")

    def at(self, family=None, capacity=1.0):
        return self

    def encode(self, frame_BTCHW):
        return frame_BTCHW.flatten(3).transpose(2, 3)

    def decode(self, state_BTND):
        return state_BTND.transpose(2, 3).unflatten(3, (GRID, GRID))

    def rollout(self, state_B1ND, action_BUA):
        state_BUND = self.predict(state_B1ND, action_BUA)
        flow_BU2HW = torch.zeros(*state_BUND.shape[:2], 2, GRID, GRID)
        return Rollout(
            start_BND=state_B1ND[:, 0], state_BUND=state_BUND, flow_BU2HW=flow_BU2HW, visible_BU1HW=flow_BU2HW[:, :, :1]
        )

    def render(self, rollout, picture_BCHW):
        return self.decode(rollout.state_BUND)


class Shifter(Toy):
    """Perfect for clips that shift horizontally: an action is the shift, found by trying all."""

    def infer_actions(self, state_BTND):
        frame = self.decode(state_BTND)
        tries = torch.stack([frame[:, :-1].roll(s, dims=-1) for s in range(GRID)])
        return (tries - frame[:, 1:]).abs().mean(dim=(3, 4, 5)).argmin(dim=0)[..., None].float()

    def predict(self, state_B1ND, action_BUA):
        frame, out = self.decode(state_B1ND)[:, 0], []
        for u in range(action_BUA.shape[1]):
            frame = torch.stack([f.roll(int(a), dims=-1) for f, a in zip(frame, action_BUA[:, u, 0], strict=True)])
            out.append(frame)
        return self.encode(torch.stack(out, dim=1))


class Copier(Toy):
    """An action is the next state itself; predictions have a constant error."""

    def infer_actions(self, state_BTND):
        return state_BTND[:, 1:].flatten(2)

    def predict(self, state_B1ND, action_BUA):
        return action_BUA.unflatten(2, (-1, 3)) + 0.1


class Still(Toy):
    """Ignores actions and repeats the first state."""

    def infer_actions(self, state_BTND):
        return torch.zeros(len(state_BTND), state_BTND.shape[1] - 1, 1)

    def predict(self, state_B1ND, action_BUA):
        return state_B1ND.expand(-1, action_BUA.shape[1], -1, -1)


def shifting_pairs(clips: int = 12, steps: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two clips of different appearance for each sequence of random shifts, (B, T, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    shift = torch.randint(0, GRID, (clips, steps), generator=generator)
    out = []
    for first in torch.rand(2, clips, 3, GRID, GRID, generator=generator):
        frames = [first]
        for u in range(steps):
            frames.append(torch.stack([f.roll(int(s), dims=-1) for f, s in zip(frames[-1], shift[:, u], strict=True)]))
        out.append(torch.stack(frames, dim=1))
    return out[0], out[1]


def score_toy(toy: Toy) -> dict[str, float]:
    """Return the scores of a toy on shifting pairs."""
    bench = Bench(toy, None, SuiteConfig())
    source, target = shifting_pairs()
    rendered = roll_out_pairs(bench, target, bench.encode(source), bench.encode(target), SETTING)
    scores = score_pairs("toy", rendered, target, SETTING)
    return {s.name.removeprefix("toy_"): s.mean for s in scores if s.step is None}


# ---- synthetic pairs -------------------------------------------------------------------------------------------------


def test_perfect_model_has_full_effect_and_efficiency():
    scores = score_toy(Shifter())
    assert scores["efficiency"] == pytest.approx(1) and scores["effect"] == pytest.approx(1)
    assert scores["edge_agreement"] == pytest.approx(1) and scores["error_vs_copying"] == pytest.approx(0, abs=1e-6)


def test_model_that_copies_the_future_has_effect_without_efficiency():
    scores = score_toy(Copier())
    assert scores["effect"] > 0.5 and abs(scores["efficiency"]) < 0.2


def test_model_that_ignores_actions_has_no_effect():
    scores = score_toy(Still())
    assert scores["effect"] == pytest.approx(0, abs=1e-6) and scores["efficiency"] == 0
    assert scores["error_vs_copying"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"own": 0.1, "transfer": 0.1, "wrong": 0.1, "copying": 0.12}, (0, 0, 0.1 / 0.12)),  # ignores actions
        ({"own": 0.05, "transfer": 0.1, "wrong": 0.1, "copying": 0.1}, (0.5, 0, 0.5)),  # leaks appearance
        ({"own": 0.05, "transfer": 0.05, "wrong": 0.1, "copying": 0.1}, (0.5, 1, 0.5)),  # perfect transfer
    ],
)
def test_effect_and_efficiency_of_known_errors(errors, expected):
    error_B = {name: torch.full((3,), error) for name, error in errors.items()}
    found = [measure(torch.ones(1, 3), error_B).item() for measure in (effect, efficiency, error_vs_copying)]
    assert found == pytest.approx(expected, abs=1e-6)


# ---- leakage, sampling, locality -------------------------------------------------------------------------------------


class RandomClips:
    """A data set of random clips, two windows of each video."""

    def resized(self, size: int):
        return self

    def windows(self, frames: int, per_clip: int):
        generator = torch.Generator().manual_seed(1)
        return torch.rand(12, frames, 3, GRID, GRID, generator=generator), [str(i // 2) for i in range(12)]


def test_cut_ratio_is_one_for_a_model_that_copies_and_large_for_one_that_moves():
    assert cut_score(Bench(Copier(), RandomClips(), SuiteConfig()), SETTING).mean == pytest.approx(1, abs=1e-4)
    shifting = RandomClips()
    shifting.windows = lambda frames, per_clip: (shifting_pairs(12, frames - 1)[0], [str(i) for i in range(12)])
    bench = Bench(Shifter(), shifting, SuiteConfig())
    state_BTND = bench.clips(2)[1]
    predicted_BUND = bench.predict(state_BTND[:, :1], bench.infer(state_BTND, SETTING), SETTING)
    assert (predicted_BUND - state_BTND[:, 1:]).abs().max() < 1e-6
    assert cut_score(bench, SETTING).mean > 100


def test_probe_predicts_from_information_and_not_from_noise():
    generator = torch.Generator().manual_seed(0)
    hidden, noise = torch.randn(2, 400, 6, generator=generator)
    target = hidden @ torch.randn(6, 20, generator=generator)
    names = tuple(str(i // 10) for i in range(400))

    def relative_error(input_BX: torch.Tensor) -> float:
        guess, mean = cross_validate(input_BX, target, names)
        return ((guess - target).abs().mean() / (mean - target).abs().mean()).item()

    assert relative_error(hidden) < 0.2 and relative_error(noise) > 0.97


def test_classifier_accuracy_is_chance_for_equal_distributions_and_high_for_others():
    generator = torch.Generator().manual_seed(0)
    inferred, sampled = torch.randn(2, 600, 8, generator=generator)
    names = tuple(str(i // 20) for i in range(600))
    assert abs(classifier_accuracy(inferred, sampled, names).mean().item() - 0.5) < 0.08
    assert classifier_accuracy(inferred, sampled + 2, names).mean().item() > 0.9


def test_overlap_of_equal_and_disjoint_maps():
    motion_BN = torch.zeros(2, 64)
    motion_BN[0, :8], motion_BN[1, 56:] = 1.0, 1.0
    moving_BN = moving_tokens(motion_BN)
    assert overlap(moving_BN, moving_BN).tolist() == [1, 1] and overlap(moving_BN, moving_BN.flip(0)).max() < 0.1


def test_intervals_contain_the_mean_and_are_wider_with_fewer_videos():
    value_B = torch.randn(40, generator=torch.Generator().manual_seed(0)) + 2
    score = mean_score("x", value_B)
    assert score.low < score.mean < score.high and score == mean_score("x", value_B)
    grouped = mean_score("x", value_B.sort().values, [str(i // 10) for i in range(40)])
    assert grouped.high - grouped.low > score.high - score.low
    assert ratio_score("r", value_B, value_B).mean == pytest.approx(1)


# ---- all suites ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path):
    """Four short videos of drifting noise, all in the split val."""
    home = tmp_path / "videos"
    home.mkdir()
    generator = torch.Generator().manual_seed(0)
    for name in "abcd":
        still = torch.rand(1, 3, 40, 40, generator=generator)
        write_clip(home / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(36)]), 12)
    lines = ["file,split", *(f"{name}.mp4,val" for name in "abcd")]
    (home / "manifest.csv").write_text("\n".join(lines))
    return ClipDataset(build_cache(home, tmp_path / "cache", cache_config(6.0, 32)), "val", 6.0, 32)


def test_unknown_suite_and_missing_videos_are_reported():
    with pytest.raises(ValueError, match=r"suite must be one of idm, .*, got 'shoes'"):
        run_suites(Still(), None, SuiteConfig(), ["shoes"])
    for suite in ("idm", "pictures", "leakage"):
        with pytest.raises(ValueError, match="pass a folder of videos"):
            run_suites(Still(), None, SuiteConfig(), [suite])


def test_report_contains_every_suite_with_every_family(dataset, tmp_path):
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=("noisy", "sparse", "discrete", "unconstrained")))
    shake(model)
    model.eval().requires_grad_(False)
    config = SuiteConfig(
        capacities=(0.0, 1.0), windows=2, synthetic_clips=4, synthetic_steps=4, seconds=0.7, probe_windows=6
    )
    fractions = []
    results = run_suites(model, dataset, config, progress=lambda fraction, _: fractions.append(fraction))
    again = run_suites(model, dataset, config, names=["idm", "cycle"])
    assert results["idm"].scores == again["idm"].scores and results["cycle"].scores == again["cycle"].scores
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    for name, result in results.items():
        families = {s.family for s in result.scores} - {None}
        assert {"noisy", "sparse", "discrete"} <= families or name == "flow", name
        assert all(s.low <= s.mean + 1e-6 and s.mean <= s.high + 1e-6 for s in result.scores if "effic" not in s.name)
    assert {s.capacity for s in results["idm"].scores if s.family == "unconstrained"} == {None}
    write_report(tmp_path / "report", {"name": "tiny <model>"}, {"split": "val"}, config, results)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert set(report["suites"]) == set(SUITES) and report["settings"]["idm"]["synthetic_clips"] == 4
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<h1>Evaluation of tiny &lt;model&gt;</h1>" in page
    assert "cycle ratio" in page and "1.34 / 1.22" in page and "data:image/png" in page
    assert 'src="http' not in page and "cdn.plot.ly" not in page.replace(get_plotlyjs(), "")
