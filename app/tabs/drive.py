"""The tab `Drive and plan`: drive a robot with its own actions, and plan to reach a goal picture."""

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
from app.components.script import recorded_script
from app.driving import Distance, Drive, Goal, SearchRound
from app.jobs import Jobs, job
from app.pictures import pack_picture
from app.studio import Studio
from app.tabs.selection import PRIVATE, Selection, build_cancel, catch_errors, error_message, select_clip, wire_cancel

LEAD = (
    "Drive a robot with its own actions. A **controller** maps each robot action to a latent action. **Drive** with "
    "keys or buttons, or choose a goal picture and let the world model **plan**."
)
NO_ROBOT = "This model has no controllers. Train some: `lawm train controller --help`."
SIMULATED, FROM_TARGET = "new simulated scene", "first frame of the target"
GOAL_AHEAD, GOAL_SOURCE = "a few steps ahead, driven automatically", "first frame of the source"
PICTURE_TYPES = list(lawm.PICTURE_SUFFIXES)
SEARCH_SECONDS, MAX_SEARCH_SECONDS = 10, 60
NUMBERS = count(1)  # numbers of drives on pages, by which events of an earlier drive are recognised


@dataclass(frozen=True, kw_only=True)
class DriveState:
    """The drive, the goal and the plan of one page.

    number: identifies the drive in events of the page. start: distance from the goal when the plan was made.
    """

    number: str = ""
    drive: Drive | None = None
    goal: Goal | None = None
    plan: lawm.Plan | None = None
    start: Distance | None = None


@dataclass(frozen=True, kw_only=True)
class DriveParts:
    """Components of the tab. state: its value is a DriveState."""

    robot: gr.Radio
    start_from: gr.Radio
    start: gr.Button
    screen: gr.HTML
    reset: gr.Button
    to_script: gr.Button
    goal: gr.Radio
    use_goal: gr.Button
    upload: gr.UploadButton
    seconds: gr.Slider
    search: gr.Button
    cancel: gr.Button
    execute: gr.Button
    plan: gr.HTML
    state: gr.State


def build_drive_tab(studio: Studio) -> DriveParts | None:
    """Build the components for driving on the left, and those for planning on the right.

    If the model has no controllers, build a hint and return None.
    """
    robots = list(studio.driver.robots)
    if not robots:
        gr.Markdown(NO_ROBOT, elem_id="no-robot")
        return None
    gr.Markdown(LEAD, elem_classes="lead")
    off = {"size": "sm", "interactive": False}
    with gr.Row(elem_classes="compare"):
        robot = gr.Radio(robots, value=robots[0], label="Robot", elem_id="robot", scale=2)
        start_from = gr.Radio(
            [SIMULATED, FROM_TARGET], value=SIMULATED, label="Start from", elem_id="start-from", scale=3
        )
        start = gr.Button("Start", elem_id="start-drive", scale=1, min_width=120, size="sm", variant="primary")
    with gr.Row(elem_classes="map-row"):
        with gr.Column(scale=6, min_width=340):
            screen = build_drive({name: studio.model.robot(name) for name in robots}, "drive")
            with gr.Row(elem_classes="downloads"):
                reset = gr.Button("Reset model to the simulator's view", elem_id="reset-model", **off)
                to_script = gr.Button("Open drive in Compose", elem_id="drive-to-script", **off)
        with gr.Column(scale=5, min_width=320):
            goal = gr.Radio([GOAL_AHEAD, GOAL_SOURCE], value=GOAL_AHEAD, label="Goal", elem_id="goal-kind")
            with gr.Row(elem_classes="downloads", elem_id="goal-tools"):
                use_goal = gr.Button("Use this goal", elem_id="use-goal", **off)
                upload = gr.UploadButton("Upload a goal picture", file_types=PICTURE_TYPES, **off)
            seconds = gr.Slider(
                2, MAX_SEARCH_SECONDS, value=SEARCH_SECONDS, step=1, label="Search time (seconds)",
                elem_id="plan-seconds",
            )  # fmt: skip
            with gr.Row(elem_classes="downloads"):
                search = gr.Button("Plan", elem_id="search-plan", variant="primary", **off)
                cancel = build_cancel("plan")
                execute = gr.Button("Run the plan", elem_id="execute-plan", **off)
            plan = build_plan("plan")
    return DriveParts(
        robot=robot, start_from=start_from, start=start, screen=screen, reset=reset, to_script=to_script, goal=goal,
        use_goal=use_goal, upload=upload, seconds=seconds, search=search, cancel=cancel, execute=execute, plan=plan,
        state=gr.State(DriveState(), time_to_live=3600),
    )  # fmt: skip


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_drive_tab(parts: DriveParts, script: gr.HTML, tabs: gr.HTML, selection: Selection, studio: Studio):
    """Wire the events of the tab. Return the event after which the script of `Compose` has the drive's actions."""
    handlers = DriveHandlers(studio, selection.jobs)
    driving = {"show_progress": "hidden", "concurrency_id": "drive", "concurrency_limit": 2, **PRIVATE}
    buttons = [parts.reset, parts.to_script, parts.use_goal, parts.upload, parts.search, parts.execute]
    parts.start.click(
        handlers.start,
        [parts.robot, parts.start_from, *selection.target_request, parts.state],
        [selection.message, parts.state, parts.screen, parts.plan, *buttons],
        show_progress_on=parts.screen,
        concurrency_id="model",
        **PRIVATE,
    )
    moved = [selection.message, parts.state, parts.screen, parts.to_script]
    parts.screen.input(handlers.step, parts.state, moved, trigger_mode="multiple", **driving)
    parts.screen.undo(handlers.undo, parts.state, moved, trigger_mode="multiple", **driving)
    parts.reset.click(handlers.reset_model, parts.state, moved, **driving)
    goal = [selection.message, parts.state, parts.plan, parts.search, parts.execute]
    parts.use_goal.click(handlers.use_goal, [parts.goal, *selection.source.inputs, parts.state], goal, **PRIVATE)
    parts.upload.upload(handlers.upload_goal, [parts.upload, parts.state], goal, **PRIVATE)
    parts.search.click(
        handlers.search_plan,
        [parts.seconds, parts.state],
        [selection.message, parts.state, parts.screen, parts.plan, parts.execute],
        show_progress_on=parts.plan,
        concurrency_id="model",
        **PRIVATE,
    )
    wire_cancel(parts.cancel, "plan", selection.jobs)
    parts.execute.click(
        handlers.execute_plan, parts.state, [*moved, parts.plan], show_progress="hidden", concurrency_id="drive",
        **PRIVATE,
    )  # fmt: skip
    outputs = [selection.message, script, tabs]
    return parts.to_script.click(handlers.open_script, parts.state, outputs, show_progress="hidden", **PRIVATE)


# ---- handlers -------------------------------------------------------------------------------------------------------


class DriveHandlers:
    """Handlers of the tab. After an error, only the message changes."""

    def __init__(self, studio: Studio, jobs: Jobs) -> None:
        self.studio, self.driver, self.jobs = studio, studio.driver, jobs

    def start(self, robot: str, start_from: str, *inputs: object) -> tuple:
        """Start a drive in a simulated scene or from the target's first frame.

        inputs: values of the inputs of the target, the family, the capacity, and the current DriveState.
        """
        *target, family, capacity, _ = inputs

        def act() -> tuple:
            if start_from == SIMULATED:
                drive = self.driver.start_simulated(robot, random.randrange(10**6), family, capacity)
            else:
                clip = self.studio.open_clip(select_clip(self.studio, "target", *target))
                drive = self.driver.start(clip.frame_TCHW[0], robot, family, capacity)
            state = DriveState(number=str(next(NUMBERS)), drive=drive)
            screen = drive_value(drive, state.number)
            off, on = gr.update(interactive=False), gr.update(interactive=True)
            can_reset = on if drive.simulator_frames else off
            return message_value(), state, screen, plan_update(None), can_reset, off, on, on, off, off

        return catch_errors(act, 10)

    def step(self, state: DriveState, event: gr.EventData) -> tuple:
        """Execute one robot action."""
        return self._change(state, event, lambda: self.driver.step(state.drive, event.action))

    def undo(self, state: DriveState, event: gr.EventData) -> tuple:
        """Remove the last step."""
        return self._change(state, event, lambda: self.driver.undo(state.drive))

    def reset_model(self, state: DriveState) -> tuple:
        """Reset the model to the simulator's frame."""
        if state.drive is None:
            return (gr.skip(),) * 4
        return catch_errors(lambda: self._moved(state, self.driver.reset_to_simulator(state.drive)), 4)

    def _change(self, state: DriveState, event: gr.EventData, act: Callable[[], Drive]) -> tuple:
        """Change the drive by calling `act`, unless the event belongs to an earlier drive."""
        if state.drive is None or getattr(event, "drive", None) != state.number:
            return (gr.skip(),) * 4
        return catch_errors(lambda: self._moved(state, act()), 4)

    def _moved(self, state: DriveState, drive: Drive) -> tuple:
        """Return the outputs that show a changed drive."""
        screen, to_script = drive_value(drive, state.number), gr.update(interactive=bool(drive.robot_actions))
        return message_value(), replace(state, drive=drive), screen, to_script

    def use_goal(self, kind: str, *inputs: object) -> tuple:
        """Use a goal from the simulated scene, or the first frame of the source.

        inputs: values of the inputs of the source, and the current DriveState.
        """
        *source, state = inputs

        def find() -> Goal:
            if kind == GOAL_SOURCE:
                clip = self.studio.open_clip(select_clip(self.studio, "source", *source))
                return Goal(packed=pack_picture(clip.frame_TCHW[0]), description=f"first frame of {clip.name}")
            return self.driver.goal_ahead(state.drive)

        return self._set_goal(state, find)

    def upload_goal(self, file: str | None, state: DriveState) -> tuple:
        """Use an uploaded picture as the goal."""

        def find() -> Goal:
            if not file:
                raise ValueError(f"The upload is empty. Choose a picture ({', '.join(PICTURE_TYPES)}).")
            frame_CHW = lawm.read_picture(file, self.driver.model.picture_size)
            return Goal(packed=pack_picture(frame_CHW), description=Path(file).name)

        return self._set_goal(state, find)

    def _set_goal(self, state: DriveState, find: Callable[[], Goal]) -> tuple:
        """Return the outputs that show the goal that `find` returns."""

        def act() -> tuple:
            if state.drive is None:
                raise ValueError("There is no drive yet. Press Start first.")
            goal = find()
            away = distance_text(self.driver.distance(state.drive, goal))
            plan, on, off = (
                plan_update(plan_value(goal, away)),
                gr.update(interactive=True),
                gr.update(interactive=False),
            )
            return message_value(), replace(state, goal=goal, plan=None), plan, on, off

        return catch_errors(act, 5)

    @job("plan")
    def search_plan(
        self,
        request: gr.Request,
        seconds: float,
        state: DriveState,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio finds it as a default
    ) -> Iterator[tuple]:
        """Search for a plan, and show the result of each iteration of the search."""
        budget = min(max(float(seconds or SEARCH_SECONDS), 1.0), MAX_SEARCH_SECONDS)
        start, found = monotonic(), None

        def report() -> None:
            left = max(0.0, budget - (monotonic() - start))
            progress(1 - left / budget, desc=progress_text(found, left))

        try:
            if state.drive is None or state.goal is None:
                raise ValueError("A plan requires a drive and a goal. Press Start, then Use this goal.")
            report()
            drive = self.driver.reset_to_simulator(state.drive)
            screen, config = drive_value(drive, state.number), self.driver.model.robot(drive.robot)
            state = replace(state, drive=drive, plan=None, start=self.driver.distance(drive, state.goal))
            away, off = distance_text(state.start), gr.update(interactive=False)
            yield message_value(), state, screen, plan_update(plan_value(state.goal, away)), off
            rounds = self.driver.plan(drive, state.goal, budget)
            while found := self.jobs.run("plan", request, lambda check: next(rounds, None), report):
                state, is_last = replace(state, plan=found.plan), not found.seconds_left
                value = plan_update(plan_value(state.goal, away, config, found))
                yield message_value(), state, gr.skip(), value, gr.update(interactive=is_last)
        except Exception as error:
            can_execute = gr.update(interactive=state.plan is not None)  # a cancelled search keeps its best plan
            yield error_message(error), gr.skip(), gr.skip(), gr.skip(), can_execute

    def execute_plan(self, state: DriveState) -> Iterator[tuple]:
        """Execute the plan step by step in model and simulator, and show the remaining distance from the goal."""
        try:
            if state.drive is None or state.plan is None:
                raise ValueError("There is no plan yet. Press Plan first.")
            for action_R in state.plan.action_KR.tolist():
                drive = self.driver.step(state.drive, action_R)
                state = replace(state, drive=drive)
                yield *self._moved(state, drive), gr.skip()
            reached = distance_text(self.driver.distance(state.drive, state.goal), state.start)
            yield *(gr.skip(),) * 4, gr.update(reached=reached)
        except Exception as error:
            yield error_message(error), *(gr.skip(),) * 4

    def open_script(self, state: DriveState) -> tuple:
        """Open the drive's latent actions as a script in the tab `Compose`."""

        def act() -> tuple:
            drive = state.drive
            if drive is None or not drive.robot_actions:
                raise ValueError("The drive has no steps yet. Drive first.")
            script = recorded_script(drive.robot, drive.latent_actions, drive.family, drive.capacity)
            return message_value(), script, "compose"

        return catch_errors(act, 3)


def progress_text(found: SearchRound | None, seconds_left: float) -> str:
    """Describe the progress of a search. found: its last finished iteration, None before the first has finished."""
    round_text = f"Round {len(found.plan.cost_I) + 1} of {found.rounds}" if found else "Round 1"
    return f"{round_text}, about {math.ceil(seconds_left)} s left"


def plan_update(value: dict | None) -> dict:
    """Return an update of the component `plan` that also clears the distance that an earlier plan has reached."""
    return gr.update(value=value, reached="")
