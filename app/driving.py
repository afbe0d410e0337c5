"""Driving: a user applies robot actions one at a time, in the world model and, if there is one, in a simulator.

A `Drive` is immutable: each step returns a new one, so a lost response or a repeated click cannot corrupt it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

import lawm_core as lawm
from app.cache import ByteCache
from app.pictures import pack_picture, unpack_picture

MAX_STEPS = 64  # of a drive; scripts have the same limit
STATE_CACHE_BYTES = 16 << 20  # for rollout states of all drives; a state that was dropped is computed again
PLAN_BYTES = 96 << 20  # for the plans of a search that are rolled out together
MAX_SIMULATORS = 4  # simulators that are open at once; each takes 30 MB
SHOWN_PLANS = 5  # plans whose end frames are shown: the plan of the search and the best other candidates
MAX_ROUNDS = 40  # iterations of a search; usually its time limit ends it earlier
CEM_CONFIGS = {
    "arm": lawm.CemConfig(samples=64, elites=8, iterations=MAX_ROUNDS),
    "rover": lawm.CemConfig(samples=32, elites=5, iterations=MAX_ROUNDS),
}
SIMULATOR_PIXELS = 256  # height and width of rendered frames
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A drive up to its current step.

    number: identifies the drive in the cache of rollout states. robot_actions, latent_actions: one of each per step.
    frames: the first frame and the predicted frame of each step, as PNG. simulator: number of this drive's simulator,
    None if it has none. simulator_frames: the simulator's own frame for each of `frames`, as PNG; empty without a
    simulator. resets: numbers of the steps after which the model was reset to the simulator's frame. references: for
    each of `frames`, the index of the frame from which the frame that follows it takes its details.
    """

    number: int
    robot: str
    family: str
    capacity: float
    robot_actions: tuple[tuple[float, ...], ...] = ()
    latent_actions: tuple[Tensor, ...] = ()
    frames: tuple[bytes, ...] = ()
    simulator: int | None = None
    simulator_frames: tuple[bytes, ...] = ()
    resets: tuple[int, ...] = ()
    references: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A picture that a drive should reach.

    packed: the picture at the model's picture size, as PNG. description: a phrase that says what it shows. pose: the
    robot's pose in the picture, None if it is unknown.
    """

    packed: bytes
    description: str
    pose: np.ndarray | None = None

    @property
    def frame_CHW(self) -> Tensor:
        """The picture in [0, 1]."""
        return unpack_picture(self.packed)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Distance between the current frame of a drive and a goal.

    state: L1 distance between the encoder's states of both pictures, which is also the cost that planning minimises.
    metres, radians: distance and angle between the robot's poses in the simulator and in the goal. Both are None if the
    goal's pose is unknown, and radians is None if the robot cannot turn.
    """

    state: float
    metres: float | None = None
    radians: float | None = None


@dataclass(frozen=True, kw_only=True)
class SearchRound:
    """The result of one iteration of a search.

    plan: the plan after this iteration. end_frames: the last frames predicted for the plan, then for the best other
    candidates, best first. rounds: expected number of iterations of the search. seconds_left: time left for the search,
    0 after its last iteration.
    """

    plan: lawm.Plan
    end_frames: list[Tensor]
    rounds: int
    seconds_left: float


class Simulators:
    """Open simulators, each with the saved states of one drive. All run in one thread, as OpenGL contexts require.

    build: takes the name of a robot, the height and width of frames in pixels, and the frame rate; returns a simulator.
    Methods take the number that `open` returned, and the number of steps after which they restore the simulator.
    """

    def __init__(self, build: Callable[[str, int, float], Any] = lawm.build_robot) -> None:
        self.build = build
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulator")
        self.opened: dict[int, tuple[Any, list]] = {}
        self.last = 0

    def open(self, robot: str, seed: int, frames_per_second: float) -> tuple[int, Tensor]:
        """Open a simulator with a new scene, and return its number and its first frame_CHW.

        If more than MAX_SIMULATORS are open, the least recently used ones are closed. Raises lawm.SimulatorError if
        nothing can be rendered.
        """

        def work() -> tuple[int, Tensor]:
            simulator = self.build(robot, SIMULATOR_PIXELS, frames_per_second)
            frame_CHW = simulator.reset(seed)
            self.last += 1
            self.opened[self.last] = (simulator, [simulator.save()])
            while len(self.opened) > MAX_SIMULATORS:
                self.opened.pop(next(iter(self.opened)))[0].close()
            return self.last, frame_CHW

        return self.thread.submit(work).result()

    def step(self, number: int, steps: int, robot_action: Sequence[float]) -> Tensor | None:
        """Execute an action after the first `steps` steps, and return the next frame_CHW.

        Returns None if the simulator was closed.
        """

        def work(simulator: Any, saved: list) -> Tensor:
            frame_CHW = simulator.step(np.asarray(robot_action))
            saved[steps + 1 :] = [simulator.save()]
            return frame_CHW

        return self._run_at(number, steps, work)

    def look_ahead(self, number: int, steps: int, ahead: int) -> tuple[Tensor, np.ndarray] | None:
        """Return the frame_CHW and the pose that a scripted demonstrator reaches in `ahead` further steps.

        The saved states of the drive stay as they are. Returns None if the simulator was closed.
        """

        def work(simulator: Any, saved: list) -> tuple[Tensor, np.ndarray]:
            frame_CHW = [simulator.step(action_R) for action_R in simulator.demonstrate(ahead)][-1]
            return frame_CHW, simulator.pose().copy()

        return self._run_at(number, steps, work)

    def action_to(self, number: int, steps: int, pose: np.ndarray) -> np.ndarray | None:
        """Return the action_R that would move the robot to a pose in one step, ignoring the limits of its actions.

        Returns None if the simulator was closed.
        """
        return self._run_at(number, steps, lambda simulator, saved: simulator.action_between(simulator.pose(), pose))

    def _run_at(self, number: int, steps: int, work: Callable[[Any, list], Result]) -> Result | None:
        """Restore a simulator to its state after `steps` steps, mark it as most recently used, and run `work`.

        work: takes the simulator and its saved states. Returns its result, or None if the simulator was closed.
        """

        def restore_and_work() -> Result | None:
            if number not in self.opened or steps >= len(self.opened[number][1]):
                return None
            simulator, saved = self.opened[number] = self.opened.pop(number)
            simulator.restore(saved[steps])
            return work(simulator, saved)

        return self.thread.submit(restore_and_work).result()

    def close(self) -> None:
        """Close every simulator."""
        self.thread.submit(lambda: [simulator.close() for simulator, _ in self.opened.values()]).result()
        self.opened.clear()
        self.thread.shutdown()


@dataclass
class Driver:
    """Starts drives, executes their steps and plans for them, with one model.

    states: cache of rollout states. numbers: yields the numbers of new drives. lock: held while the model computes.
    """

    model: lawm.LatentActionModel
    simulators: Simulators = field(default_factory=Simulators)
    states: ByteCache[lawm.RolloutState] = field(default_factory=lambda: ByteCache(STATE_CACHE_BYTES))
    numbers: Iterator[int] = field(default_factory=count)
    lock: Lock = field(default_factory=Lock)

    @property
    def robots(self) -> tuple[str, ...]:
        """Names of the robots that can be driven."""
        return self.model.robots

    def start(self, frame_CHW: Tensor, robot: str, family: str, capacity: float) -> Drive:
        """Start a drive without a simulator from any frame at the model's picture size."""
        packed = pack_picture(frame_CHW)
        drive = Drive(number=next(self.numbers), robot=robot, family=family, capacity=capacity, frames=(packed,))
        with self.lock, torch.inference_mode():
            self._rollout_state(drive)
        return drive

    def start_simulated(self, robot: str, seed: int, family: str, capacity: float) -> Drive:
        """Start a drive in a new simulated scene; each step is executed in the simulator and in the model."""
        number, frame_CHW = self.simulators.open(robot, seed, self.model.frames_per_second)
        drive = self.start(self._resize(frame_CHW), robot, family, capacity)
        return replace(drive, simulator=number, simulator_frames=(pack_picture(frame_CHW),))

    def step(self, drive: Drive, robot_action: Sequence[float]) -> Drive:
        """Execute one robot action, clamped to the robot's limits, and return the drive with one more step.

        If the drive's simulator was closed, the drive continues without one. Raises ValueError if the action is not one
        of this robot, or if the drive already has MAX_STEPS steps.
        """
        steps = len(drive.robot_actions)
        if steps >= MAX_STEPS:
            raise ValueError(f"A drive has at most {MAX_STEPS} steps. Undo some or start a new drive.")
        action = self.clamp_action(drive.robot, robot_action)
        with self.lock, torch.inference_mode():
            state = self._rollout_state(drive)
            latent_1A = state.to_latent(torch.tensor([action], device=state.state_BND.device))
            state = state.apply(latent_1A)
            reference = drive.references[-1]
            frame_CHW = self.model.render(state.current, unpack_picture(drive.frames[reference])[None])[0, 0]
            if state.has_lost_reference:
                state, reference = state.reset_reference(), len(drive.frames)
            self._cache(drive, (*drive.robot_actions, action), state)
        simulator_frames = drive.simulator_frames
        if drive.simulator is not None:
            next_CHW = self.simulators.step(drive.simulator, steps, action)
            simulator_frames = (*simulator_frames, pack_picture(next_CHW)) if next_CHW is not None else ()
        return replace(
            drive,
            robot_actions=(*drive.robot_actions, action),
            latent_actions=(*drive.latent_actions, latent_1A[0]),
            frames=(*drive.frames, pack_picture(frame_CHW)),
            references=(*drive.references, reference),
            simulator=drive.simulator if simulator_frames else None,
            simulator_frames=simulator_frames,
        )

    def reset_to_simulator(self, drive: Drive) -> Drive:
        """Replace the model's current prediction by the simulator's frame.

        Returns the drive unchanged if it has no simulator, has no steps yet, or was already reset after this step.
        """
        steps = len(drive.robot_actions)
        if not drive.simulator_frames or steps in (0, *drive.resets):
            return drive
        seen = pack_picture(self._resize(unpack_picture(drive.simulator_frames[-1])))
        return replace(
            drive,
            frames=(*drive.frames[:-1], seen),
            references=(*drive.references[:-1], steps),
            resets=(*drive.resets, steps),
        )

    def undo(self, drive: Drive) -> Drive:
        """Return the drive without its last step; a drive without steps is returned unchanged."""
        if not drive.robot_actions:
            return drive
        names = ("robot_actions", "latent_actions", "frames", "simulator_frames", "references")
        shorter = {name: getattr(drive, name)[:-1] for name in names}
        return replace(drive, **shorter, resets=tuple(n for n in drive.resets if n < len(drive.robot_actions)))

    def goal_ahead(self, drive: Drive) -> Goal:
        """Return the frame and pose that a scripted demonstrator reaches in a few steps, as a goal for the drive.

        Raises ValueError if the drive has no simulator.
        """
        reached = None
        if drive.simulator is not None:
            ahead = lawm.plan_steps(drive.robot)
            reached = self.simulators.look_ahead(drive.simulator, len(drive.robot_actions), ahead)
        if reached is None:
            raise ValueError("This drive has no simulated scene. Choose another goal.")
        frame_CHW, pose = reached
        return Goal(
            packed=pack_picture(self._resize(frame_CHW)),
            description="a few steps ahead, driven automatically",
            pose=pose,
        )

    def plan(self, drive: Drive, goal: Goal, seconds: float) -> Iterator[SearchRound]:
        """Search for a plan from the drive's current state to a goal, and yield the result of each iteration.

        The search takes about `seconds`, and at least one iteration.
        """
        space = lawm.robot_search_space(drive.robot, self.model.robot(drive.robot))
        with self.lock, torch.inference_mode():
            state = self._rollout_state(drive)
            dynamics = lawm.WorldModelDynamics(state, PLAN_BYTES)
            goal_ND = self.model.encode(goal.frame_CHW[None, None])[0, 0]
        reference_1CHW = unpack_picture(drive.frames[drive.references[-1]])[None]
        config = CEM_CONFIGS["arm" if drive.robot == "arm" else "rover"]
        generator = torch.Generator().manual_seed(0)
        iterations = lawm.iterate_cem(dynamics, lawm.GoalStateCost(goal_ND), space, config, generator)
        start = monotonic()
        for done in range(1, config.iterations + 1):
            with self.lock, torch.inference_mode():
                plan = next(iterations)
                plan_EKR = torch.cat((plan.action_KR[None], plan.elite_EKR[: SHOWN_PLANS - 1]))
                *_, end = state.repeat(len(plan_EKR)).steps(plan_EKR)
                end_E1CHW = self.model.render(end.current, reference_1CHW.expand(len(plan_EKR), -1, -1, -1))
            spent = monotonic() - start
            rounds = min(config.iterations, max(done, math.floor(seconds * done / max(spent, 1e-9))))
            is_last = done == rounds
            left = 0.0 if is_last else seconds - spent
            yield SearchRound(plan=plan, end_frames=list(end_E1CHW[:, 0]), rounds=rounds, seconds_left=left)
            if is_last:
                return

    def distance(self, drive: Drive, goal: Goal) -> Distance:
        """Return the distance between a goal and the simulator's current frame, or the model's without a simulator."""
        current_CHW = self._resize(unpack_picture((drive.simulator_frames or drive.frames)[-1]))
        with self.lock, torch.inference_mode():
            current_ND, goal_ND = self.model.encode(torch.stack((current_CHW, goal.frame_CHW))[:, None])[:, 0]
        state = lawm.GoalStateCost(goal_ND).cost(current_ND[None]).item()
        action_R = None
        if goal.pose is not None and drive.simulator is not None:
            action_R = self.simulators.action_to(drive.simulator, len(drive.robot_actions), goal.pose)
        if action_R is None:
            return Distance(state=state)
        units = self.model.robot(drive.robot).units
        components = lambda unit: [value for value, own in zip(action_R, units, strict=True) if own == unit]
        turn = components("rad")
        return Distance(state=state, metres=math.hypot(*components("m")), radians=math.hypot(*turn) if turn else None)

    def clamp_action(self, robot: str, robot_action: Sequence[float]) -> tuple[float, ...]:
        """Return an action clamped to the robot's limits, dimension by dimension.

        Raises ValueError if it does not have one finite number for each dimension of the robot's actions.
        """
        config = self.model.robot(robot)
        numbers = isinstance(robot_action, list | tuple) and all(
            isinstance(value, int | float) and math.isfinite(value) for value in robot_action
        )
        if not numbers or len(robot_action) != len(config.names):
            raise ValueError(
                f"An action of {robot} must be {len(config.names)} numbers: {', '.join(config.names)}. "
                f"Got {repr(robot_action)[:80]}."
            )
        pairs = zip(robot_action, config.limits, strict=True)
        return tuple(float(min(max(value, -limit), limit)) for value, limit in pairs)

    def _resize(self, frame_CHW: Tensor) -> Tensor:
        """Return a frame at the model's picture size."""
        return lawm.enlarge(frame_CHW[None], self.model.picture_size)[0]

    def _rollout_state(self, drive: Drive) -> lawm.RolloutState:
        """Return the rollout state after the last step, computed from the last state that is in the cache.

        The caller must hold the lock.
        """
        restart = max((0, *drive.resets))  # the model starts from the last reset, so earlier steps do not matter
        steps = len(drive.robot_actions)
        while (state := self.states.get(state_key(drive, drive.robot_actions[:steps]))) is None and steps > restart:
            steps -= 1
        if state is None:
            state_11ND = self.model.encode(unpack_picture(drive.frames[restart])[None, None])
            state = self.model.at(drive.family, drive.capacity).start_rollout(state_11ND, robot=drive.robot)
            self._cache(drive, drive.robot_actions[:restart], state)
        for step, latent_A in enumerate(drive.latent_actions[steps:], start=steps + 1):
            state = state.apply(latent_A[None])
            if drive.references[step] == step:
                state = state.reset_reference()
            self._cache(drive, drive.robot_actions[:step], state)
        return state

    def _cache(self, drive: Drive, robot_actions: tuple[tuple[float, ...], ...], state: lawm.RolloutState) -> None:
        """Add the state of a drive after these robot actions to the cache."""
        self.states.put(state_key(drive, robot_actions), state, state.nbytes)


def state_key(drive: Drive, robot_actions: tuple[tuple[float, ...], ...]) -> tuple:
    """Return the cache key of a rollout state: the drive's number, these robot actions and the resets among them."""
    return drive.number, robot_actions, tuple(step for step in drive.resets if step <= len(robot_actions))
