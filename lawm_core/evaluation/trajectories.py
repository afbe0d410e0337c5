"""Errors of planned trajectories, computed by the package evo as in Navigation World Models (NWM) [LAWM §4.8]."""

from __future__ import annotations

import numpy as np


def trajectory_errors(planned_KR: np.ndarray, true_KR: np.ndarray) -> tuple[float, float]:
    """Return (ATE, RPE), the errors of a planned trajectory in metres. Of each of its K poses, only x and y count.

    ATE (absolute trajectory error): root mean square distance between planned and true positions. RPE (relative pose
    error): root mean square length of the difference between the planned and the true displacement of a step. The
    trajectories are neither aligned nor scaled. Raises ValueError if they differ in length or have fewer than two
    poses, and if evo is not installed.
    """
    try:  # only in requirements-dev.txt, because it has many dependencies that the page does not need
        from evo.core.metrics import PoseRelation, Unit
        from evo.core.trajectory import PoseTrajectory3D
        from evo.main_ape import ape
        from evo.main_rpe import rpe
    except ImportError as error:
        raise ValueError(
            f"errors of trajectories need the package evo, which cannot be imported ({error}); run "
            "`pip install -r requirements-dev.txt`, or leave out plans of the rover."
        ) from error

    if len(planned_KR) != len(true_KR) or len(true_KR) < 2:
        raise ValueError(
            f"trajectories must have the same length of at least 2, got {len(planned_KR)} and {len(true_KR)} poses."
        )

    def trajectory(pose_KR: np.ndarray) -> PoseTrajectory3D:
        """Return poses as a trajectory of the package evo: at height 0, without rotation, one pose per second."""
        steps = len(pose_KR)
        return PoseTrajectory3D(
            positions_xyz=np.column_stack((np.asarray(pose_KR, np.float64)[:, :2], np.zeros(steps))),
            orientations_quat_wxyz=np.tile((1.0, 0.0, 0.0, 0.0), (steps, 1)),
            timestamps=np.arange(steps, dtype=np.float64),
        )

    reference, estimate, part = trajectory(true_KR), trajectory(planned_KR), PoseRelation.translation_part
    absolute = ape(reference, estimate, part).stats["rmse"]
    relative = rpe(reference, estimate, part, delta=1, delta_unit=Unit.frames).stats["rmse"]
    return float(absolute), float(relative)
