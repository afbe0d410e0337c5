"""How far planned trajectories lie from driven ones, by the package evo, as NWM measures them [LAWM §4.8]."""

from __future__ import annotations

import numpy as np


def trajectory_errors(planned_HK: np.ndarray, true_HK: np.ndarray) -> tuple[float, float]:
    """(ATE, RPE) in metres of two ways of H poses (x, y, ...): the root mean square over poses of the distance, and
    over steps of the difference of displacements. Nothing is aligned or scaled; only x and y count. Raises ValueError
    for ways of different length, and where evo is not installed.
    """
    try:  # its many needs would weigh on everybody who only looks at a page, so it comes with requirements-dev.txt
        from evo.core.metrics import PoseRelation, Unit
        from evo.core.trajectory import PoseTrajectory3D
        from evo.main_ape import ape
        from evo.main_rpe import rpe
    except ImportError as error:
        raise ValueError(
            f"ways are compared by the package evo, of requirements-dev.txt, which is missing ({error})."
        ) from error

    if len(planned_HK) != len(true_HK) or len(true_HK) < 2:
        raise ValueError(
            f"ways of {len(planned_HK)} and {len(true_HK)} poses came; two of the same length, 2 or more, are needed."
        )

    def way(pose_HK: np.ndarray) -> PoseTrajectory3D:
        """H poses (x, y, ...) in metres as evo takes them: on the ground, facing nowhere, a second apart."""
        steps = len(pose_HK)
        return PoseTrajectory3D(
            positions_xyz=np.column_stack((pose_HK[:, :2], np.zeros(steps))),
            orientations_quat_wxyz=np.tile((1.0, 0.0, 0.0, 0.0), (steps, 1)),
            timestamps=np.arange(steps, dtype=np.float64),
        )

    reference, estimate = way(np.asarray(true_HK, np.float64)), way(np.asarray(planned_HK, np.float64))
    part = PoseRelation.translation_part
    absolute = ape(reference, estimate, part).stats["rmse"]
    relative = rpe(reference, estimate, part, delta=1, delta_unit=Unit.frames).stats["rmse"]
    return float(absolute), float(relative)
