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
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lawm_core as lawm
from app.cache import ByteCache
from app.pictures import pack_picture, unpack_picture

MOST_STEPS = 64  # of a drive: as long as a script may be
PRESENTS_BYTES = 16 << 20  # of all drives' moments; one that is forgotten is driven again from the last kept one
WORLDS_OPEN = 8  # simulators at once; the longest unused one goes
RENEW_BELOW = 0.5  # share of the frame that is visible in the reference; with less, a drawn frame becomes the reference
SHOWN_ENDS = 5  # of a search: the plan and the best candidates
PLANNERS = {  # a person waits for them
    "arm": lawm.CemConfig(samples=64, elites=8, iterations=6),
    "rover": lawm.CemConfig(samples=32, elites=5, iterations=4),
}
SIMULATOR_SIZE = 256  # pixels a side, drawn; the model sees them at its own size


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Where a drive has come to. told: the known actions so far; frames: what the model decoded, the first one real,
    packed.

    latent: what each step said to the world model. world: the simulator's name for this drive, or none; truth: its
    frames, as many as `frames`. Small: its moments are with the school.
    """

    number: int
    robot: str
    family: str
    capacity: float
    first: lawm.Present
    told: tuple[tuple[float, ...], ...] = ()
    latent: tuple[Tensor, ...] = ()
    frames: tuple[bytes, ...] = ()
    world: int | None = None
    truth: tuple[bytes, ...] = ()
    before: int = 0  # steps that the world had gone when this drive last looked
    references: tuple[int, ...] = (0,)  # for each frame, the number of the one that its details are carried over from


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
        """Does an action after the first `at` ones; the next frame_CHW, or none where the world is gone."""

        def act(world: Any, moments: list) -> Tensor:
            frame_CHW = world.step(np.asarray(told))
            moments[at + 1 :] = [world.save()]
            return frame_CHW

        return self._at(number, at, act)

    def look_ahead(self, number: int, at: int, steps: int) -> Tensor | None:
        """The frame_CHW that a demonstrator comes to after the first `at` actions; none where the world is gone."""

        def act(world: Any, moments: list) -> Tensor:
            return [world.step(action_K) for action_K in world.demonstrate(steps)][-1]

        return self._at(number, at, act)

    def _at(self, number: int, at: int, act: Callable[[Any, list], Tensor]) -> Tensor | None:
        """What `act` makes of a world as it was after `at` actions; that world is now the last used one."""

        def go() -> Tensor | None:
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
        with self.lock, torch.inference_mode():
            state_11ND = self.model.encode(unpack_picture(packed)[None, None])
            first = self.model.begin(state_11ND, robot=robot, family=family, capacity=capacity)
        return Drive(
            number=next(self.numbers), robot=robot, family=family, capacity=capacity, first=first, frames=(packed,)
        )

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
            self._keep(drive.number, (*drive.told, action), present)
        truth = drive.truth
        if drive.world is not None:
            shown_CHW = self.simulators.step(drive.world, drive.before + len(drive.told), action)
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
        """The drive from here on, seen anew in the simulator: what the model had only foretold is forgotten.

        Where there is no simulator, the drive as it is.
        """
        if not (drive.truth and drive.told):
            return drive
        seen_CHW = lawm.enlarge(unpack_picture(drive.truth[-1])[None], self.model.picture_size)[0]
        again = self.begin(seen_CHW, drive.robot, drive.family, drive.capacity)
        return replace(again, world=drive.world, truth=drive.truth[-1:], before=drive.before + len(drive.told))

    def undo(self, drive: Drive) -> Drive:
        """One action less; nothing happens at the start."""
        if not drive.told:
            return drive
        less = {name: getattr(drive, name)[:-1] for name in ("told", "latent", "frames", "truth", "references")}
        return replace(drive, **less)

    def look_ahead(self, drive: Drive) -> Tensor:
        """What the simulated scene looks like a few steps of a demonstrator from here, frame_CHW at the model's size;
        the scene itself stays where it is. Raises ValueError where there is none.
        """
        ahead_CHW = None
        if drive.world is not None:
            ahead_CHW = self.simulators.look_ahead(
                drive.world, drive.before + len(drive.told), lawm.plan_steps(drive.robot)
            )
        if ahead_CHW is None:
            raise ValueError("This drive has no simulated scene to look ahead in; take another goal.")
        return lawm.enlarge(ahead_CHW[None], self.model.picture_size)[0]

    def plan(self, drive: Drive, goal_CHW: Tensor) -> Iterator[tuple[lawm.Plan, list[Tensor], int]]:
        """Searches a way from where the drive is to a goal picture: the plan so far, where it leads and then the best
        candidates (frames, the best first), and how many iterations there are; one after each iteration.
        """
        search = lawm.known_search(drive.robot, self.model.robot(drive.robot))
        with self.lock, torch.inference_mode():
            now = self._present(drive)
            dynamics = lawm.WorldModelDynamics(now)
            goal_ND = self.model.encode(goal_CHW[None, None])[0, 0]
        picture_1CHW = unpack_picture(drive.frames[drive.references[-1]])[None]
        generator = torch.Generator().manual_seed(0)
        planner = PLANNERS["arm" if drive.robot == "arm" else "rover"]
        rounds = lawm.search_by_cem(dynamics, lawm.GoalState(goal_ND), search, planner, generator)
        for _ in range(planner.iterations):
            with self.lock, torch.inference_mode():
                found = next(rounds)
                plan_EHK = torch.cat((found.action_HK[None], found.elite_EHK[: SHOWN_ENDS - 1]))
                *_, end = now.expand(len(plan_EHK)).steps(plan_EHK)
                shown_E1CHW = self.model.render(end.rollout, picture_1CHW.expand(len(plan_EHK), -1, -1, -1))
            yield found, list(shown_E1CHW[:, 0]), planner.iterations

    def checked(self, robot: str, told: Sequence[float]) -> tuple[float, ...]:
        """An action within the robot's limits. Raises ValueError for what is none."""
        config = self.model.robot(robot)
        if len(told) != len(config.names) or not all(math.isfinite(v) for v in told):
            raise ValueError(f"An action of {robot} is {len(config.names)} numbers: {', '.join(config.names)}.")
        return tuple(float(min(max(v, -most), most)) for v, most in zip(told, config.limits, strict=True))

    def _present(self, drive: Drive) -> lawm.Present:
        """The moment a drive has come to; only to be asked for by who holds the lock."""
        steps, present = len(drive.told), None
        while steps and (present := self.presents.get((drive.number, drive.told[:steps]))) is None:
            steps -= 1
        present = present or drive.first
        for i, latent_A in enumerate(drive.latent[steps:], start=steps + 1):
            present = present.act(latent_A[None])
            if drive.references[i] == i:
                present = present.anchor()
            self._keep(drive.number, drive.told[:i], present)
        return present

    def _keep(self, number: int, told: tuple[tuple[float, ...], ...], present: lawm.Present) -> lawm.Present:
        return self.presents.keep((number, told), present, present.nbytes)
