"""The fifth tab: drive a robot by its known actions, and plan a way to a goal picture."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import monotonic

import gradio as gr

import lawm_core as lawm
from app.components.drive import build_drive, drive_value
from app.components.message import message_value
from app.components.plan import build_plan, distance_text, plan_value
from app.components.script import script_value
from app.driving import Distance, Drive, Goal
from app.jobs import Jobs, job
from app.pictures import pack_picture
from app.studio import Studio
from app.tabs.selection import PRIVATE, Selection, build_cancel, chosen_piece, refusal, wire_cancel

LEAD = (
    "A robot's own commands, understood through a **controller** that says which latent action each one means here. "
    "**Drive** with keys, or give a goal picture and let the world model **plan** the way."
)
NO_ROBOT = "This model has no controllers. Train some: `python -m lawm_core train controller --help`."
SIMULATED, FROM_TARGET = "a new simulated scene", "the target's first frame"
GOAL_AHEAD, GOAL_SOURCE = "a moment ahead in the scene", "the source's first frame"
PICTURE_TYPES = list(lawm.PICTURE_SUFFIXES)
SEARCH_SECONDS = 10
NUMBERS = count(1)  # of drives, so that an answer to an older one is told from the present one's


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What one visitor drives, plans for and planned. start: how far the goal was when the plan was made."""

    number: str = ""
    drive: Drive | None = None
    goal: Goal | None = None
    plan: lawm.Plan | None = None
    start: Distance | None = None


@dataclass(frozen=True, kw_only=True)
class DriveParts:
    """The tab's components; `visit` holds a Visit."""

    robot: gr.Radio
    place: gr.Radio
    begin: gr.Button
    screen: gr.HTML
    look: gr.Button
    record: gr.Button
    goal: gr.Radio
    choose: gr.Button
    upload: gr.UploadButton
    seconds: gr.Slider
    plan: gr.Button
    stop: gr.Button
    do: gr.Button
    planned: gr.HTML
    visit: gr.State


def build_drive_tab(studio: Studio) -> DriveParts | None:
    """Driving on the left, planning on the right."""
    robots = list(studio.school.robots)
    if not robots:
        gr.Markdown(NO_ROBOT, elem_id="no-robot")
        return None
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="compare"):
        robot = gr.Radio(robots, value=robots[0], label="Robot", elem_id="robot", scale=2)
        place = gr.Radio([SIMULATED, FROM_TARGET], value=SIMULATED, label="Begin in", elem_id="drive-place", scale=3)
        begin = gr.Button("Begin", elem_id="begin-drive", scale=1, min_width=120, size="sm", variant="primary")
    with gr.Row(elem_classes="map-row"):
        with gr.Column(scale=6, min_width=340):
            screen = build_drive({name: studio.model.robot(name) for name in robots}, "drive")
            with gr.Row(elem_classes="downloads"):
                look = gr.Button("Reset model to the simulator's view", size="sm", elem_id="look", interactive=False)
                record = gr.Button("Open in Compose", size="sm", elem_id="record-drive", interactive=False)
        with gr.Column(scale=5, min_width=320):
            goal = gr.Radio([GOAL_AHEAD, GOAL_SOURCE], value=GOAL_AHEAD, label="Goal", elem_id="goal-kind")
            with gr.Row(elem_classes="downloads", elem_id="goal-tools"):
                choose = gr.Button("Use this goal", size="sm", elem_id="take-goal", interactive=False)
                upload = gr.UploadButton("Upload a goal", file_types=PICTURE_TYPES, size="sm", interactive=False)
            seconds = gr.Slider(
                2, 60, value=SEARCH_SECONDS, step=1, label="Search time in seconds", elem_id="plan-seconds",
            )  # fmt: skip
            with gr.Row(elem_classes="downloads"):
                plan = gr.Button("Plan", size="sm", elem_id="run-plan", interactive=False, variant="primary")
                stop = build_cancel("plan")
                do = gr.Button("Run the plan", size="sm", elem_id="do-plan", interactive=False)
            planned = build_plan("plan")
    return DriveParts(
        robot=robot, place=place, begin=begin, screen=screen, look=look, record=record, goal=goal, choose=choose,
        upload=upload, seconds=seconds, plan=plan, stop=stop, do=do, planned=planned,
        visit=gr.State(Visit(), time_to_live=3600),
    )  # fmt: skip


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_drive_tab(parts: DriveParts, script: gr.HTML, tabs: gr.HTML, selection: Selection, studio: Studio):
    """Begin, step by step, back, goal, plan, do it; the event after which the script is the drive."""
    handlers = DriveHandlers(studio, selection.jobs)
    driving = {"show_progress": "hidden", "concurrency_id": "drive", "concurrency_limit": 2, **PRIVATE}
    ready = [parts.look, parts.record, parts.choose, parts.upload, parts.plan, parts.do]
    begun = [selection.message, parts.visit, parts.screen, parts.planned, *ready]
    parts.begin.click(
        handlers.begin,
        [parts.robot, parts.place, *selection.on_target, parts.visit],
        begun,
        show_progress_on=parts.screen,
        concurrency_id="model",
        **PRIVATE,
    )
    moved = [selection.message, parts.visit, parts.screen, parts.record]
    parts.screen.input(handlers.step, parts.visit, moved, trigger_mode="multiple", **driving)
    parts.screen.undo(handlers.undo, parts.visit, moved, trigger_mode="multiple", **driving)
    parts.look.click(handlers.look, parts.visit, moved, **driving)
    taken = [selection.message, parts.visit, parts.planned, parts.plan, parts.do]
    parts.choose.click(handlers.take_goal, [parts.goal, *selection.source.inputs, parts.visit], taken, **PRIVATE)
    parts.upload.upload(handlers.take_picture, [parts.upload, parts.visit], taken, **PRIVATE)
    parts.plan.click(
        handlers.plan,
        [parts.seconds, parts.visit],
        [selection.message, parts.visit, parts.screen, parts.planned, parts.do],
        show_progress_on=parts.planned,
        concurrency_id="model",
        **PRIVATE,
    )
    wire_cancel(parts.stop, "plan", selection.jobs)
    parts.do.click(
        handlers.do, parts.visit, [*moved, parts.planned], show_progress="hidden", concurrency_id="drive", **PRIVATE
    )
    recorded = [selection.message, script, tabs]
    return parts.record.click(handlers.record, parts.visit, recorded, show_progress="hidden", **PRIVATE)


# ---- handlers -------------------------------------------------------------------------------------------------------


class DriveHandlers:
    """What the tab's events do. A refusal leaves everything as it is and says why."""

    def __init__(self, studio: Studio, jobs: Jobs) -> None:
        self.studio, self.school, self.jobs = studio, studio.school, jobs

    def begin(self, robot: str, place: str, *rest: object) -> tuple:
        """A new drive, in a simulated scene or from the target's first frame."""
        *target, family, capacity, _ = rest

        def act() -> tuple:
            if place == SIMULATED:
                drive = self.school.begin_simulated(robot, random.randrange(10**6), family, capacity)
            else:
                clip = self.studio.open_clip(chosen_piece(self.studio, "target", *target))
                drive = self.school.begin(clip.frame_TCHW[0], robot, family, capacity)
            visit = Visit(number=str(next(NUMBERS)), drive=drive)
            screen = drive_value(drive, visit.number)
            off, on = gr.update(interactive=False), gr.update(interactive=True)
            looks = on if drive.truth else off
            return message_value(), visit, screen, shown_plan(None), looks, off, on, on, off, off

        return self._guarded(act, 10)

    def step(self, visit: Visit, event: gr.EventData) -> tuple:
        """One action."""
        return self._move(visit, event, lambda: self.school.step(visit.drive, event.told))

    def undo(self, visit: Visit, event: gr.EventData) -> tuple:
        """One action less."""
        return self._move(visit, event, lambda: self.school.undo(visit.drive))

    def look(self, visit: Visit) -> tuple:
        """The simulator's picture as the new first frame."""
        if visit.drive is None:
            return (gr.skip(),) * 4
        return self._guarded(lambda: self._moved(visit, self.school.look(visit.drive)), 4)

    def _move(self, visit: Visit, event: gr.EventData, act: Callable[[], Drive]) -> tuple:
        if visit.drive is None or getattr(event, "drive", None) != visit.number:
            return (gr.skip(),) * 4
        return self._guarded(lambda: self._moved(visit, act()), 4)

    def _moved(self, visit: Visit, drive: Drive) -> tuple:
        screen, recordable = drive_value(drive, visit.number), gr.update(interactive=bool(drive.told))
        return message_value(), replace(visit, drive=drive), screen, recordable

    def take_goal(self, kind: str, *rest: object) -> tuple:
        """A goal picture: what a demonstrator makes of the simulated scene from here, or the source's first frame."""
        *source, visit = rest

        def find() -> Goal:
            if kind == GOAL_SOURCE:
                clip = self.studio.open_clip(chosen_piece(self.studio, "source", *source))
                return Goal(packed=pack_picture(clip.frame_TCHW[0]), about=f"the first frame of {clip.name}")
            return self.school.look_ahead(visit.drive)

        return self._take(visit, find)

    def take_picture(self, file: str | None, visit: Visit) -> tuple:
        """An uploaded picture as the goal."""

        def find() -> Goal:
            if not file:
                raise ValueError("No picture came; a png, jpg, webp or bmp file is needed.")
            frame_CHW = lawm.read_picture(file, self.school.model.picture_size)
            return Goal(packed=pack_picture(frame_CHW), about=Path(file).name)

        return self._take(visit, find)

    def _take(self, visit: Visit, find: Callable[[], Goal]) -> tuple:
        def act() -> tuple:
            if visit.drive is None:
                raise ValueError("Nothing is driven yet; press Begin first.")
            goal = find()
            ready = gr.update(interactive=True), gr.update(interactive=False)
            away = distance_text(self.school.distance(visit.drive, goal))
            return message_value(), replace(visit, goal=goal, plan=None), shown_plan(plan_value(goal, away)), *ready

        return self._guarded(act, 5)

    @job("plan")
    def plan(
        self,
        request: gr.Request,
        seconds: float,
        visit: Visit,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio finds it
    ) -> Iterator[tuple]:
        """Search, and show each round of the search."""
        budget = min(max(float(seconds or SEARCH_SECONDS), 1.0), 60.0)
        start, done = monotonic(), 0

        def report() -> None:
            left = max(0.0, budget - (monotonic() - start))
            progress(1 - left / budget, desc=f"Round {done + 1}, about {math.ceil(left)} s left")

        try:
            if visit.drive is None or visit.goal is None:
                raise ValueError("A plan needs a drive and a goal; press Begin, then Use this goal.")
            report()
            drive = self.school.look(visit.drive)  # a plan starts from what the simulator shows
            screen, config = drive_value(drive, visit.number), self.school.model.robot(drive.robot)
            visit = replace(visit, drive=drive, plan=None, start=self.school.distance(drive, visit.goal))
            away, off = distance_text(visit.start), gr.update(interactive=False)
            yield message_value(), visit, screen, shown_plan(plan_value(visit.goal, away)), off
            rounds = self.school.plan(drive, visit.goal, budget)
            while found := self.jobs.run("plan", request, lambda check: next(rounds, None), report):
                done = len(found.plan.cost_I)
                value, last = plan_value(visit.goal, away, config, found), not found.seconds_left
                visit = replace(visit, plan=found.plan)
                yield message_value(), visit, gr.skip(), shown_plan(value), gr.update(interactive=last)
        except Exception as error:
            ready = gr.update(interactive=visit.plan is not None)  # a cancelled search leaves its best plan so far
            yield refusal(error), gr.skip(), gr.skip(), gr.skip(), ready

    def do(self, visit: Visit) -> Iterator[tuple]:
        """The plan, step by step, in the model and in the simulator; then how close it came to the goal."""
        try:
            if visit.drive is None or visit.plan is None:
                raise ValueError("There is no plan yet; press Plan.")
            for told_K in visit.plan.action_HK.tolist():
                drive = self.school.step(visit.drive, told_K)
                visit = replace(visit, drive=drive)
                yield *self._moved(visit, drive), gr.skip()
            reached = distance_text(self.school.distance(visit.drive, visit.goal), visit.start)
            yield *(gr.skip(),) * 4, gr.update(reached=reached)
        except Exception as error:
            yield refusal(error), *(gr.skip(),) * 4

    def record(self, visit: Visit) -> tuple:
        """The drive's latent actions as a script."""

        def act() -> tuple:
            drive = visit.drive
            if drive is None or not drive.told:
                raise ValueError("Nothing is driven yet; there is nothing to open.")
            names = [f"{drive.robot}, step {i + 1}" for i in range(len(drive.latent))]
            steps = [{"terms": [{"action": name, "weight": 1.0}], "repeat": 1} for name in names]
            actions = {name: latent_A.tolist() for name, latent_A in zip(names, drive.latent, strict=True)}
            return message_value(), script_value(steps, actions, drive.family, drive.capacity), "compose"

        return self._guarded(act, 3)

    @staticmethod
    def _guarded(act: Callable[[], tuple], outputs: int) -> tuple:
        try:
            return act()
        except Exception as error:
            return refusal(error), *[gr.skip()] * (outputs - 1)


def shown_plan(value: dict | None) -> dict:
    """A goal or a plan on the page, in place of what was reached before."""
    return gr.update(value=value, reached="")
