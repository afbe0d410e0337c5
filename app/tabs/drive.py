"""The fifth tab: drive a robot by its known actions, and plan a way to a goal picture."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import gradio as gr

import lawm_core as lawm
from app.components.drive import build_drive, drive_value
from app.components.message import message_value
from app.components.plan import Goal, build_plan, plan_value
from app.components.script import script_value
from app.driving import Drive
from app.studio import Studio
from app.tabs.selection import PRIVATE, Selection, chosen_piece, tell

LEAD = (
    "A robot's own commands, understood through a **controller** that says which latent action each one means here. "
    "**Drive** with keys, or give a goal picture and let the world model **plan** the way."
)
NO_ROBOT = "This model has no controllers. Train some: `python -m lawm_core train controller --help`."
SIMULATED, FROM_TARGET = "a new simulated scene", "the target's first frame"
GOAL_AHEAD, GOAL_SOURCE = "a moment ahead in the scene", "the source's first frame"
PICTURE_TYPES = list(lawm.PICTURE_SUFFIXES)
NUMBERS = count(1)  # of drives, so that an answer to an older one is told from the present one's


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What one visitor drives, plans for and planned."""

    number: str = ""
    drive: Drive | None = None
    goal: Goal | None = None
    plan: lawm.Plan | None = None


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
                look = gr.Button("Look again", size="sm", elem_id="look", interactive=False)
                record = gr.Button("Open in Compose", size="sm", elem_id="record-drive", interactive=False)
        with gr.Column(scale=5, min_width=320):
            goal = gr.Radio([GOAL_AHEAD, GOAL_SOURCE], value=GOAL_AHEAD, label="Goal", elem_id="goal-kind")
            with gr.Row(elem_classes="downloads", elem_id="goal-tools"):
                choose = gr.Button("Take the goal", size="sm", elem_id="take-goal", interactive=False)
                upload = gr.UploadButton("Upload a goal", file_types=PICTURE_TYPES, size="sm", interactive=False)
                plan = gr.Button("Plan", size="sm", elem_id="run-plan", interactive=False, variant="primary")
                stop = gr.Button("Cancel", size="sm", elem_id="cancel-plan", visible=False)
                do = gr.Button("Do the plan", size="sm", elem_id="do-plan", interactive=False)
            planned = build_plan("plan")
    return DriveParts(
        robot=robot, place=place, begin=begin, screen=screen, look=look, record=record, goal=goal, choose=choose,
        upload=upload, plan=plan, stop=stop, do=do, planned=planned, visit=gr.State(Visit(), time_to_live=3600),
    )  # fmt: skip


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_drive_tab(parts: DriveParts, script: gr.HTML, tabs: gr.HTML, selection: Selection, studio: Studio):
    """Begin, step by step, back, goal, plan, do it; the event after which the script is the drive."""
    handlers = DriveHandlers(studio)
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
    planning = parts.plan.click(
        handlers.plan,
        parts.visit,
        [selection.message, parts.visit, parts.screen, parts.planned, parts.stop, parts.do],
        show_progress_on=parts.planned,
        trigger_mode="multiple",  # after a cancel, "once" would wait for an end that never comes
        concurrency_id="model",
        **PRIVATE,
    )
    parts.stop.click(lambda: gr.update(visible=False), None, parts.stop, cancels=[planning], queue=False, **PRIVATE)
    parts.do.click(handlers.do, parts.visit, moved, show_progress="hidden", concurrency_id="drive", **PRIVATE)
    recorded = [selection.message, script, tabs]
    return parts.record.click(handlers.record, parts.visit, recorded, show_progress="hidden", **PRIVATE)


# ---- handlers -------------------------------------------------------------------------------------------------------


class DriveHandlers:
    """What the tab's events do. A refusal leaves everything as it is and says why."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.school = studio, studio.school

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
            return message_value(), visit, screen, None, looks, off, on, on, off, off

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
                return Goal(frame_CHW=clip.frame_TCHW[0], about=f"the first frame of {clip.name}")
            return Goal(frame_CHW=self.school.look_ahead(visit.drive), about="a few steps ahead of here")

        return self._take(visit, find)

    def take_picture(self, file: str | None, visit: Visit) -> tuple:
        """An uploaded picture as the goal."""

        def find() -> Goal:
            if not file:
                raise ValueError("No picture came; a png, jpg, webp or bmp file is needed.")
            frame_CHW = lawm.read_picture(file, self.school.model.picture_size)
            return Goal(frame_CHW=frame_CHW, about=Path(file).name)

        return self._take(visit, find)

    def _take(self, visit: Visit, find: Callable[[], Goal]) -> tuple:
        def act() -> tuple:
            if visit.drive is None:
                raise ValueError("Nothing is driven yet; press Begin first.")
            goal = find()
            ready = gr.update(interactive=True), gr.update(interactive=False)
            return message_value(), replace(visit, goal=goal, plan=None), plan_value(goal), *ready

        return self._guarded(act, 5)

    def plan(self, visit: Visit, progress: gr.Progress = gr.Progress()) -> Iterator[tuple]:  # noqa: B008
        """Searches, and shows the search as it goes."""
        shown, hidden = gr.update(visible=True), gr.update(visible=False)
        yield gr.skip(), gr.skip(), gr.skip(), gr.skip(), shown, gr.update(interactive=False)
        try:
            if visit.drive is None or visit.goal is None:
                raise ValueError("A plan needs a drive and a goal; take a goal first.")
            drive = self.school.look(visit.drive)  # whoever plans looks first
            screen, config = drive_value(drive, visit.number), self.school.model.robot(drive.robot)
            for found, ends, iterations in self.school.plan(drive, visit.goal.frame_CHW):
                progress(len(found.cost_I) / iterations, desc=f"iteration {len(found.cost_I)} of {iterations}")
                value = plan_value(visit.goal, config, found, ends, iterations)
                planned = replace(visit, drive=drive, plan=found)
                done = len(found.cost_I) == iterations
                button = hidden if done else gr.skip()
                yield message_value(), planned, screen, value, button, gr.update(interactive=done)
        except Exception as error:
            yield message_value(tell(error)), gr.skip(), gr.skip(), gr.skip(), hidden, gr.skip()

    def do(self, visit: Visit) -> Iterator[tuple]:
        """The plan, step by step, in the model and in the simulator."""
        try:
            if visit.drive is None or visit.plan is None:
                raise ValueError("There is no plan to do yet.")
            for told_K in visit.plan.action_HK.tolist():
                drive = self.school.step(visit.drive, told_K)
                visit = replace(visit, drive=drive)
                yield self._moved(visit, drive)
        except Exception as error:
            yield message_value(tell(error)), gr.skip(), gr.skip(), gr.skip()

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
            return message_value(tell(error)), *[gr.skip()] * (outputs - 1)
