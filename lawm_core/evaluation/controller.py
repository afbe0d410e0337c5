"""Known actions through controllers, against latent actions inferred from what followed [LAWM Tables S1, S2].

From one real frame of a robot's episode, `seconds` unrolled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lawm_core.contracts import Rollout
from lawm_core.evaluation.bench import Bench, Setting, join_rollouts, pick_clips, state_error
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, mean_score, ratio_score
from lawm_core.models.controller import ACTION_ONLY
from lawm_core.worlds.episodes import Labelled


@torch.inference_mode()
def measure_controller(bench: Bench, progress: Progress) -> SuiteResult:
    """For each robot and setting: ROBOT_`idm`, the unrolled state L1 under inferred actions; `controller`, under known
    ones; `ratio`, one over the other; `still`, the IDM's over that of repeating the frame; `moved`, how far the
    controller's rollout goes from its first frame, over how far the IDM's goes. With `action_only_` before them, ratio
    and moved of a controller that sees the action alone.
    """
    if not bench.labelled:
        raise ValueError("this suite measures known actions; a folder of labelled episodes is needed.")
    scores: list[Score] = []
    pictures: dict[str, Tensor] = {}
    settings = list(bench.settings(bench.config.ends))
    for r, (robot, world) in enumerate(bench.labelled.items()):
        pieces = world.windows(bench.steps + 1, bench.config.episodes, bench.config.seed)
        state_BTND = bench.encode(pieces.frame_BTCHW.to(bench.model.device))
        for i, setting in enumerate(settings):
            done = (r + i / len(settings)) / len(bench.labelled)
            progress(done, f"{robot}, {setting.family} at {setting.capacity}")
            told, driven = score_controllers(bench, robot, pieces, state_BTND, setting)
            scores += told
            if setting.capacity == bench.config.capacities[-1]:
                real_1TCHW = pieces.frame_BTCHW[:1].to(bench.model.device)
                shown_1UCHW = bench.show(real_1TCHW, pick_clips(driven, slice(1)))
                driven_1TCHW = torch.cat((real_1TCHW[:, :1], shown_1UCHW), dim=1)
                title = f"{robot}, {setting.family}: as it went, and under its known actions"
                pictures[title] = torch.cat((real_1TCHW, driven_1TCHW))
    return SuiteResult(scores=scores, pictures=pictures)


def score_controllers(
    bench: Bench, robot: str, pieces: Labelled, state_BTND: Tensor, setting: Setting
) -> tuple[list[Score], Rollout]:
    """The scores of one robot at one setting, and where its known actions lead."""
    first_B1ND, true_BUND = state_BTND[:, :1], state_BTND[:, 1:]
    inferred_BUND = bench.roll(first_B1ND, bench.infer(state_BTND, setting), setting)
    idm_B, still_B = state_error(inferred_BUND, true_BUND), state_error(first_B1ND, true_BUND)
    gone_B = state_error(inferred_BUND, first_B1ND)
    where = setting.where()
    out = [mean_score(f"{robot}_idm", idm_B, **where), ratio_score(f"{robot}_still", idm_B, still_B, **where)]
    driven: dict[str, Rollout] = {}
    for kind in ("", ACTION_ONLY):
        if robot + kind not in bench.model.controllers:
            continue
        driven[kind] = drive(bench, first_B1ND, pieces.action_BUK.to(first_B1ND), robot + kind, setting)
        known_B, name = state_error(driven[kind].state_BUND, true_BUND), f"{robot}{kind}"
        out.append(mean_score(f"{name}_controller", known_B, **where))
        out.append(ratio_score(f"{name}_ratio", known_B, idm_B, **where))
        out.append(ratio_score(f"{name}_moved", state_error(driven[kind].state_BUND, first_B1ND), gone_B, **where))
    return out, driven[""]


def drive(bench: Bench, first_B1ND: Tensor, known_BUK: Tensor, robot: str, setting: Setting) -> Rollout:
    """Where one state leads under known actions, each met in the state before it."""
    parts = zip(first_B1ND.split(16), known_BUK.split(16), strict=True)
    begin = lambda state_B1ND: bench.model.begin(state_B1ND, robot=robot, precision="float32", **setting.arguments())
    return join_rollouts([begin(state_B1ND).roll(known) for state_B1ND, known in parts])
