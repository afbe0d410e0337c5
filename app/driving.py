"""Driving: known actions, one at a time, from a first frame on; beside it, where there is one, the real simulator.

A drive is a value: every step makes a new one, so that a lost answer or a second click cannot spoil it.
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

MOST_STEPS = 64  # of a drive: as long as a script may be
PRESENTS_BYTES = 16 << 20  # of all drives' moments; one that is forgotten is driven again from the last kept one
WORLDS_OPEN = 4  # simulators at once, 30 MB each; the longest unused one goes
RENEW_BELOW = 0.5  # share of the frame that is visible in the reference; with less, a drawn frame becomes the reference
SHOWN_ENDS = 5  # of a search: the plan and the best candidates
ROUNDS = 40  # of a search, at most; its time runs out sooner
PLANNERS = {
    "arm": lawm.CemConfig(samples=64, elites=8, iterations=ROUNDS),
    "rover": lawm.CemConfig(samples=32, elites=5, iterations=ROUNDS),
}
SIMULATOR_SIZE = 256  # pixels a side, drawn; the model sees them at its own size
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Where a drive has come to. told: the known actions so far; frames: what the model decoded, the first one real,
    packed.

    latent: what each step said to the world model. world: the simulator's name for this drive, or none; truth: its
    frames, as many as `frames`. looks: the steps after which the model was shown the simulator's frame; it goes on
    from there. references: for each frame, the number of the one that its details are carried over from. Small: its
    moments are with the school.
    """

    number: int
    robot: str
    family: str
    capacity: float
    told: tuple[tuple[float, ...], ...] = ()
    latent: tuple[Tensor, ...] = ()
    frames: tuple[bytes, ...] = ()
    world: int | None = None
    truth: tuple[bytes, ...] = ()
    looks: tuple[int, ...] = ()
    references: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A picture to be reached, packed, at the drawing size. pose_K: the robot's pose in it, where that is known."""

    packed: bytes
    about: str
    pose_K: np.ndarray | None = None

    @property
    def frame_CHW(self) -> Tensor:
        """The picture in [0, 1]."""
        return unpack_picture(self.packed)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far a drive is from a goal. picture: between the model's states, as the planner's cost measures it.

    metres, radians: between the robot's poses in the simulator, where the goal's is known; radians where it can turn.
    """

    picture: float
    metres: float | None = None
    radians: float | None = None


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a search. ends: the frames where the plan leads and then the best candidates, the best first."""

    plan: lawm.Plan
    ends: list[Tensor]
    seconds_left: float


class Simulators:
    """Robots' worlds, each with one drive's moments. All of them live in one thread, as drawing contexts ask."""

    def __init__(self, build: Callable[[str, int, float], Any] = lawm.build_robot) -> None:
        self.build = build
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulator")
        self.worlds: dict[int, tuple[Any, list]] = {}
        self.next = 0

    def open(self, robot: str, seed: int, frames_per_second: float) -> tuple[int, Tensor]:
        """A fresh scene: its number and first frame_CHW. Raises lawm.SimulatorError where nothing can be drawn."""

        def act() -> tuple[int, Tensor]:
            world = self.build(robot, SIMULATOR_SIZE, frames_per_second)
            frame_CHW = world.reset(seed)
            self.next += 1
            self.worlds[self.next] = (world, [world.save()])
            while len(self.worlds) > WORLDS_OPEN:
                self.worlds.pop(next(iter(self.worlds)))[0].close()
            return self.next, frame_CHW

        return self.thread.submit(act).result()

    def step(self, number: int, at: int, told: Sequence[float]) -> Tensor | None:
        """Does an action after the first `at` actions; the next frame_CHW, or none where the world is gone."""

        def act(world: Any, moments: list) -> Tensor:
            frame_CHW = world.step(np.asarray(told))
            moments[at + 1 :] = [world.save()]
            return frame_CHW

        return self._at(number, at, act)

    def look_ahead(self, number: int, at: int, steps: int) -> tuple[Tensor, np.ndarray] | None:
        """The frame_CHW and pose_K that a demonstrator comes to after the first `at` actions; none where the world is
        gone.
        """

        def act(world: Any, moments: list) -> tuple[Tensor, np.ndarray]:
            frame_CHW = [world.step(action_K) for action_K in world.demonstrate(steps)][-1]
            return frame_CHW, world.pose().copy()

        return self._at(number, at, act)

    def way_to(self, number: int, at: int, pose_K: np.ndarray) -> np.ndarray | None:
        """The action_K, of any length, that leads from the pose after `at` actions to another pose; none where the
        world is gone.
        """
        return self._at(number, at, lambda world, moments: world.action_between(world.pose(), pose_K))

    def _at(self, number: int, at: int, act: Callable[[Any, list], Result]) -> Result | None:
        """What `act` makes of a world as it was after `at` actions; that world is now the last used one."""

        def go() -> Result | None:
            if number not in self.worlds or at >= len(self.worlds[number][1]):
                return None
            world, moments = self.worlds[number] = self.worlds.pop(number)
            world.restore(moments[at])
            return act(world, moments)

        return self.thread.submit(go).result()

    def close(self) -> None:
        """Lets every world go."""
        self.thread.submit(lambda: [world.close() for world, _ in self.worlds.values()]).result()
        self.worlds.clear()
        self.thread.shutdown()


@dataclass
class DrivingSchool:
    """Begins drives and takes their steps, with one model."""

    model: lawm.LatentActionModel
    simulators: Simulators = field(default_factory=Simulators)
    presents: ByteCache[lawm.Present] = field(default_factory=lambda: ByteCache(PRESENTS_BYTES))
    numbers: Iterator[int] = field(default_factory=count)
    lock: Lock = field(default_factory=Lock)

    @property
    def robots(self) -> tuple[str, ...]:
        """Robots whose known actions the model understands."""
        return self.model.robots

    def begin(self, frame_CHW: Tensor, robot: str, family: str, capacity: float) -> Drive:
        """A drive from any picture, at the model's size."""
        packed = pack_picture(frame_CHW)
        drive = Drive(number=next(self.numbers), robot=robot, family=family, capacity=capacity, frames=(packed,))
        with self.lock, torch.inference_mode():
            self._present(drive)
        return drive

    def begin_simulated(self, robot: str, seed: int, family: str, capacity: float) -> Drive:
        """A drive in a simulated scene, which goes its own true way beside the model's."""
        world, frame_CHW = self.simulators.open(robot, seed, self.model.frames_per_second)
        drive = self.begin(lawm.enlarge(frame_CHW[None], self.model.picture_size)[0], robot, family, capacity)
        return replace(drive, world=world, truth=(pack_picture(frame_CHW),))

    def step(self, drive: Drive, told: Sequence[float]) -> Drive:
        """One action. Raises ValueError for numbers that are no action of this robot, and after MOST_STEPS."""
        if len(drive.told) >= MOST_STEPS:
            raise ValueError(f"A drive has at most {MOST_STEPS} steps; go back or start again.")
        action = self.checked(drive.robot, told)
        with self.lock, torch.inference_mode():
            now = self._present(drive)
            latent_1A = now.latent(torch.tensor([action], device=now.state_BND.device))
            present = now.act(latent_1A)
            reference = drive.references[-1]
            frame_CHW = self.model.render(present.rollout, unpack_picture(drive.frames[reference])[None])[0, 0]
            if present.visible_share < RENEW_BELOW:
                present, reference = present.anchor(), len(drive.frames)
            self._keep(drive, (*drive.told, action), present)
        truth = drive.truth
        if drive.world is not None:
            shown_CHW = self.simulators.step(drive.world, len(drive.told), action)
            truth = (*truth, pack_picture(shown_CHW)) if shown_CHW is not None else ()
        return replace(
            drive,
            told=(*drive.told, action),
            latent=(*drive.latent, latent_1A[0]),
            frames=(*drive.frames, pack_picture(frame_CHW)),
            references=(*drive.references, reference),
            world=drive.world if truth else None,
            truth=truth,
        )

    def look(self, drive: Drive) -> Drive:
        """The same drive, with the model shown the simulator's present frame: its own prediction of it is replaced.

        Where there is no simulator, or nothing new to see, the drive as it is.
        """
        at = len(drive.told)
        if not drive.truth or at in (0, *drive.looks):
            return drive
        seen = pack_picture(lawm.enlarge(unpack_picture(drive.truth[-1])[None], self.model.picture_size)[0])
        return replace(
            drive,
            frames=(*drive.frames[:-1], seen),
            references=(*drive.references[:-1], at),
            looks=(*drive.looks, at),
        )

    def undo(self, drive: Drive) -> Drive:
        """One action less; nothing happens at the start."""
        if not drive.told:
            return drive
        less = {name: getattr(drive, name)[:-1] for name in ("told", "latent", "frames", "truth", "references")}
        return replace(drive, **less, looks=tuple(at for at in drive.looks if at < len(drive.told)))

    def look_ahead(self, drive: Drive) -> Goal:
        """What the simulated scene looks like a few steps of a demonstrator from here; the scene itself stays where it
        is. Raises ValueError where there is none.
        """
        seen = None
        if drive.world is not None:
            seen = self.simulators.look_ahead(drive.world, len(drive.told), lawm.plan_steps(drive.robot))
        if seen is None:
            raise ValueError("This drive has no simulated scene to look ahead in; choose another goal.")
        frame_CHW, pose_K = seen
        frame_CHW = lawm.enlarge(frame_CHW[None], self.model.picture_size)[0]
        return Goal(packed=pack_picture(frame_CHW), about="a few steps ahead in the scene", pose_K=pose_K)

    def plan(self, drive: Drive, goal: Goal, seconds: float) -> Iterator[Round]:
        """Search a way from where the drive is to a goal, for about so many seconds and at least one round."""
        search = lawm.known_search(drive.robot, self.model.robot(drive.robot))
        with self.lock, torch.inference_mode():
            now = self._present(drive)
            dynamics = lawm.WorldModelDynamics(now)
            goal_ND = self.model.encode(goal.frame_CHW[None, None])[0, 0]
        picture_1CHW = unpack_picture(drive.frames[drive.references[-1]])[None]
        generator = torch.Generator().manual_seed(0)
        planner = PLANNERS["arm" if drive.robot == "arm" else "rover"]
        rounds = lawm.search_by_cem(dynamics, lawm.GoalState(goal_ND), search, planner, generator)
        start = monotonic()
        for done in range(1, planner.iterations + 1):
            with self.lock, torch.inference_mode():
                found = next(rounds)
                plan_EHK = torch.cat((found.action_HK[None], found.elite_EHK[: SHOWN_ENDS - 1]))
                *_, end = now.expand(len(plan_EHK)).steps(plan_EHK)
                shown_E1CHW = self.model.render(end.rollout, picture_1CHW.expand(len(plan_EHK), -1, -1, -1))
            spent = monotonic() - start
            last = done == planner.iterations or spent + spent / done > seconds  # another round would end too late
            yield Round(plan=found, ends=list(shown_E1CHW[:, 0]), seconds_left=0.0 if last else seconds - spent)
            if last:
                return

    def distance(self, drive: Drive, goal: Goal) -> Distance:
        """How far the drive is from a goal: as the simulator shows it where there is one, else as the model does."""
        shown = lawm.enlarge(unpack_picture((drive.truth or drive.frames)[-1])[None], self.model.picture_size)
        with self.lock, torch.inference_mode():
            one_ND, other_ND = self.model.encode(torch.stack((shown, goal.frame_CHW[None])))[:, 0]
        picture = lawm.GoalState(other_ND).cost(one_ND[None]).item()
        way_K = None
        if goal.pose_K is not None and drive.world is not None:
            way_K = self.simulators.way_to(drive.world, len(drive.told), goal.pose_K)
        if way_K is None:
            return Distance(picture=picture)
        units = self.model.robot(drive.robot).units
        length = lambda unit: [value for value, its in zip(way_K, units, strict=True) if its == unit]
        turn = length("rad")
        return Distance(
            picture=picture,
            metres=math.hypot(*length("m")),
            radians=math.hypot(*turn) if turn else None,
        )

    def checked(self, robot: str, told: Sequence[float]) -> tuple[float, ...]:
        """An action within the robot's limits. Raises ValueError for what is none."""
        config = self.model.robot(robot)
        if len(told) != len(config.names) or not all(math.isfinite(v) for v in told):
            raise ValueError(f"An action of {robot} is {len(config.names)} numbers: {', '.join(config.names)}.")
        return tuple(float(min(max(v, -most), most)) for v, most in zip(told, config.limits, strict=True))

    def _present(self, drive: Drive) -> lawm.Present:
        """The moment a drive has come to; only to be asked for by who holds the lock."""
        seen = max((0, *drive.looks))  # what came before it does not matter to the model any more
        steps = len(drive.told)
        while (present := self.presents.get(moment(drive, drive.told[:steps]))) is None and steps > seen:
            steps -= 1
        if present is None:
            state_11ND = self.model.encode(unpack_picture(drive.frames[seen])[None, None])
            present = self.model.begin(state_11ND, robot=drive.robot, family=drive.family, capacity=drive.capacity)
            self._keep(drive, drive.told[:seen], present)
        for i, latent_A in enumerate(drive.latent[steps:], start=steps + 1):
            present = present.act(latent_A[None])
            if drive.references[i] == i:
                present = present.anchor()
            self._keep(drive, drive.told[:i], present)
        return present

    def _keep(self, drive: Drive, told: tuple[tuple[float, ...], ...], present: lawm.Present) -> None:
        self.presents.keep(moment(drive, told), present, present.nbytes)


def moment(drive: Drive, told: tuple[tuple[float, ...], ...]) -> tuple:
    """What a moment of a drive is remembered by: what was done up to it, and when the model was shown the truth."""
    return drive.number, told, tuple(at for at in drive.looks if at <= len(told))
