"""Suites against toys whose figures are known, and the whole report on a tiny model."""

import json

import pytest
import torch
from plotly.offline import get_plotlyjs

from lawm_core.contracts import Rollout
from lawm_core.evaluation.bench import Bench, Setting, SuiteConfig
from lawm_core.evaluation.leakage import cross_fit, cut_score
from lawm_core.evaluation.locality import liveliest, overlap
from lawm_core.evaluation.report import write_report
from lawm_core.evaluation.sampling import told_apart
from lawm_core.evaluation.scores import mean_score, ratio_score
from lawm_core.evaluation.suites import SUITES, run_suites
from lawm_core.evaluation.twins import roll_twins, twin_scores
from lawm_core.video.files import write_clip
from lawm_core.worlds.clips import ClipWorld, build_cache, cache_config
from tests.conftest import tiny_config

SETTING = Setting("noisy", 1.0)
GRID = 8


class Toy:
    """A model whose states are its frames' pixels. Subclasses say what an action is and what it does."""

    families, references, frame_size, picture_size, frames_per_second = ("noisy",), (), GRID, GRID, 6.0
    device = torch.device("cpu")

    def encode(self, frame_BTCHW):
        return frame_BTCHW.flatten(3).transpose(2, 3)

    def decode(self, state_BTND):
        return state_BTND.transpose(2, 3).unflatten(3, (GRID, GRID))

    def rollout(self, state_B1ND, action_BUA, **_):
        return Rollout(start_BND=state_B1ND[:, 0], state_BUND=self.roll(state_B1ND, action_BUA))

    def draw(self, rollout, _picture_BCHW):
        return self.decode(rollout.state_BUND), None

    def render(self, rollout, picture_BCHW):
        return self.draw(rollout, picture_BCHW)[0]


class Shifter(Toy):
    """Perfect where everything shifts sideways: finds the shift by trying all, and does it."""

    def infer_actions(self, state_BTND, **_):
        frame = self.decode(state_BTND)
        tries = torch.stack([frame[:, :-1].roll(s, dims=-1) for s in range(GRID)])
        return (tries - frame[:, 1:]).abs().mean(dim=(3, 4, 5)).argmin(dim=0)[..., None].float()

    def roll(self, state_B1ND, action_BUA):
        frame, out = self.decode(state_B1ND)[:, 0], []
        for u in range(action_BUA.shape[1]):
            frame = torch.stack([f.roll(int(a), dims=-1) for f, a in zip(frame, action_BUA[:, u, 0], strict=True)])
            out.append(frame)
        return self.encode(torch.stack(out, dim=1))


class Copier(Toy):
    """An action is the next state itself, with the same small fault everywhere."""

    def infer_actions(self, state_BTND, **_):
        return state_BTND[:, 1:].flatten(2)

    def roll(self, state_B1ND, action_BUA):
        return action_BUA.unflatten(2, (-1, 3)) + 0.1


class Still(Toy):
    """Ignores actions."""

    def infer_actions(self, state_BTND, **_):
        return torch.zeros(len(state_BTND), state_BTND.shape[1] - 1, 1)

    def roll(self, state_B1ND, action_BUA):
        return state_B1ND.expand(-1, action_BUA.shape[1], -1, -1)


def shifting_twins(clips: int = 12, steps: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Two looks of each clip under the same random shifts."""
    generator = torch.Generator().manual_seed(0)
    shift = torch.randint(0, GRID, (clips, steps), generator=generator)
    looks = torch.rand(2, clips, 3, GRID, GRID, generator=generator)
    out = []
    for look in looks:
        frames = [look]
        for u in range(steps):
            frames.append(torch.stack([f.roll(int(s), dims=-1) for f, s in zip(frames[-1], shift[:, u], strict=True)]))
        out.append(torch.stack(frames, dim=1))
    return out[0], out[1]


def scores_of(toy: Toy) -> dict[str, float]:
    """Twin figures of a toy on shifting twins."""
    bench = Bench(toy, None, SuiteConfig())
    source, target = shifting_twins()
    scores = twin_scores(
        "toy", roll_twins(bench, target, *map(bench.encode, (source, target)), SETTING), target, SETTING
    )
    return {s.name.removeprefix("toy_"): s.mean for s in scores if s.step is None}


def test_a_perfect_model_has_every_effect_and_all_of_it_transfers():
    scores = scores_of(Shifter())
    assert scores["efficiency"] == pytest.approx(1) and scores["effect"] == pytest.approx(1)
    assert scores["edges"] == pytest.approx(1) and scores["against_still"] == pytest.approx(0, abs=1e-6)


def test_a_copier_has_effect_that_does_not_transfer():
    scores = scores_of(Copier())
    assert scores["effect"] > 0.5 and abs(scores["efficiency"]) < 0.2


def test_a_still_model_has_no_effect():
    scores = scores_of(Still())
    assert scores["effect"] == pytest.approx(0, abs=1e-6) and scores["efficiency"] == 0
    assert scores["against_still"] == pytest.approx(1)


class Clips:
    """A world of random pictures, two windows of each."""

    def resized(self, _size: int):
        return self

    def windows(self, frames: int, a_clip: int):
        generator = torch.Generator().manual_seed(1)
        return torch.rand(12, frames, 3, GRID, GRID, generator=generator), [str(i // 2) for i in range(12)]


def test_a_copier_leaks_one_and_a_mover_more():
    assert cut_score(Bench(Copier(), Clips(), SuiteConfig()), SETTING).mean == pytest.approx(1, abs=1e-4)
    moving = Clips()
    moving.windows = lambda frames, a_clip: (shifting_twins(12, frames - 1)[0], [str(i) for i in range(12)])
    bench = Bench(Shifter(), moving, SuiteConfig())
    own = bench.clips(2)[1]
    assert bench.roll(own[:, :1], bench.infer(own, SETTING), SETTING).sub(own[:, 1:]).abs().max() < 1e-6
    assert cut_score(bench, SETTING).mean > 100


def test_a_probe_reads_what_is_there_and_nothing_from_noise():
    generator = torch.Generator().manual_seed(0)
    hidden, noise = torch.randn(2, 400, 6, generator=generator)
    target = hidden @ torch.randn(6, 20, generator=generator)
    names = tuple(str(i // 10) for i in range(400))

    def left(input_BX: torch.Tensor) -> float:
        guess, mean = cross_fit(input_BX, target, names)
        return ((guess - target).abs().mean() / (mean - target).abs().mean()).item()

    assert left(hidden) < 0.2 and left(noise) > 0.97


def test_the_same_samples_cannot_be_told_apart_and_others_can():
    generator = torch.Generator().manual_seed(0)
    real, same = torch.randn(2, 600, 8, generator=generator)
    names = tuple(str(i // 20) for i in range(600))
    assert abs(told_apart(real, same, names).mean().item() - 0.5) < 0.08
    assert told_apart(real, same + 2, names).mean().item() > 0.9


def test_overlap_of_maps():
    map_BN = torch.zeros(2, 64)
    map_BN[0, :8], map_BN[1, 56:] = 1.0, 1.0
    one = liveliest(map_BN)
    assert overlap(one, one).tolist() == [1, 1] and overlap(one, one.flip(0)).max() < 0.1


def test_intervals_hold_the_figure_and_widen_where_videos_are_few():
    value = torch.randn(40, generator=torch.Generator().manual_seed(0)) + 2
    alone = mean_score("x", value)
    assert alone.low < alone.mean < alone.high and alone == mean_score("x", value)
    together = mean_score("x", value.sort().values, [str(i // 10) for i in range(40)])
    assert together.high - together.low > alone.high - alone.low
    assert ratio_score("r", value, value).mean == pytest.approx(1)


@pytest.fixture
def world(tmp_path):
    """Four short videos of drifting noise, all for measuring."""
    home = tmp_path / "videos"
    home.mkdir()
    generator = torch.Generator().manual_seed(0)
    for name in "abcd":
        still = torch.rand(1, 3, 40, 40, generator=generator)
        write_clip(home / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(36)]), 12)
    lines = ["file,split", *(f"{n}.mp4,val" for n in "abcd")]
    (home / "manifest.csv").write_text("\n".join(lines))
    return ClipWorld(build_cache(home, tmp_path / "cache", cache_config(6.0, 32)), "val", 6.0, 32)


def test_every_suite_reports_on_every_family_and_the_report_holds_it_all(world, tmp_path):
    from lawm_core.model import LatentActionModel
    from tests.conftest import shake

    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=("noisy", "sparse", "discrete", "unconstrained")))
    shake(model)
    model.eval().requires_grad_(False)
    config = SuiteConfig(capacities=(0.0, 1.0), windows=2, twins=4, twin_steps=4, seconds=0.7, latents=6)
    told = []
    results = run_suites(model, world, config, progress=lambda fraction, what: told.append(fraction))
    again = run_suites(model, world, config, names=["idm", "cycle"])
    assert results["idm"].scores == again["idm"].scores and results["cycle"].scores == again["cycle"].scores
    assert told == sorted(told) and 0 <= told[0] and told[-1] <= 1
    for name, result in results.items():
        families = {s.family for s in result.scores} - {None}
        assert {"noisy", "sparse", "discrete"} <= families, name
        assert all(s.low <= s.mean + 1e-6 and s.mean <= s.high + 1e-6 for s in result.scores if "effic" not in s.name)
    assert {s.capacity for s in results["idm"].scores if s.family == "unconstrained"} == {None}
    write_report(tmp_path / "report", {"name": "tiny"}, {"split": "val"}, config, results)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert set(report["suites"]) == set(SUITES) and report["settings"]["idm"]["twins"] == 4
    page = (tmp_path / "report" / "report.html").read_text()
    assert "cycle ratio" in page and "1.34 / 1.22" in page and "data:image/png" in page
    assert 'src="http' not in page and "cdn.plot.ly" not in page.replace(get_plotlyjs(), "")
