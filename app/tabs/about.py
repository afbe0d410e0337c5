"""The tab `About`: what the page shows, how to read it, its limits, and the API."""

from __future__ import annotations

import gradio as gr

from app.clip_selection import MAX_FRAMES
from app.studio import Studio

TEXT = """
### What this is

A **latent action** is a vector that describes the change between two consecutive frames of a video. The model learned
latent actions from videos without labels. It infers one latent action for each pair of frames of the **source** clip.
From the **target** clip it takes the first frame only. A world model then predicts, step by step, how the target
continues under the source's actions. This rollout is the **transfer**.

The **control** is the same rollout with the action of a scene without motion. Differences between transfer and control
are caused by the actions. What happens in both does not come from the source.

The **bottleneck** limits what a latent action can encode, and the **capacity** sets how much. At a low capacity,
actions encode coarse motion only. At a high capacity, they can also encode appearance: the transfer then resembles the
source.

### How to read a result

- A good transfer moves like the source and resembles the target.
- *Explained motion* near 0 %: the actions describe nothing of the source, so there is nothing to transfer.
- *How much changed* near 0 %: transfer and control are the same. Try another source or a higher capacity.
- *Cycle error* near 1: the same actions can be inferred from the transfer again.

### Limits

- The source has up to {frames} frames at {rate:g} frames per second. Videos are cropped to the centre square and
  resized to {size} × {size} pixels. Sound is ignored.
- The model predicts what is usual in such a scene. It knows no physics, and content that comes into view is often
  wrong.
- Uploads are decoded in a sandbox, removed after a while, and never sent to another server.

### Keyboard

- **Player**: ← and → step through the frames, Home and End jump to the first and last frame, Space plays and pauses.
- **Tabs**: ← and → change the tab.
- **Touch**: Enter adds a drag; arrow keys move its end, with Shift its start; + and − zoom, comma and full stop turn;
  Delete removes the drag; Ctrl Z undoes.
- **Live**, with the pointer: arrow keys, + and − move the left picture.
- **Action map**: *Previous*, *Next* and *Point* select a point; *Select its neighbours too* selects several.
- **Compose**: 1 to 9 add a prototype, Delete removes the selected step, Ctrl Z and Ctrl Y undo and redo.
- **Drive**: the keys are on the buttons; Backspace undoes a step.
- **?** opens this list on any tab.

### API

Programs can use the Python package `gradio_client`. With `client = Client("ADDRESS OF THIS PAGE")`:

- `client.predict(source="sea-pan.mp4", target="dunes-pan.mp4", api_name="/transfer")` returns a video, the latent
  actions, a replay spec and scores. `target_video=handle_file("mine.mp4")` passes your own video.
- `client.predict(source="sea-pan.mp4", api_name="/infer_actions")` returns a list of actions.
- `client.predict(action=actions, target="dunes-pan.mp4", api_name="/apply_action")` returns a video.

Further endpoints are `capacity_sweep`, `project` and `replay`. The command `lawm replay replay.json --out again.mp4`
computes the result of a downloaded replay spec again, byte for byte.

### Model

**{name}**: {millions:.1f} million parameters; bottlenecks: {families}.

The method is from Garrido et al., *Learning Latent Action World Models In The Wild*, arXiv 2601.05230.
"""


def build_about_tab(studio: Studio, card: str | None) -> None:
    """Build the text, and below it the model card if there is one. card: its text in Markdown."""
    model = studio.model
    with gr.Column(elem_classes="reading"):
        gr.Markdown(
            TEXT.format(
                frames=MAX_FRAMES,
                rate=model.frames_per_second,
                size=model.picture_size,
                name=model.name,
                millions=model.parameter_count() / 1e6,
                families=", ".join(model.family_names),
            ),
            elem_id="about",
        )
        if card:
            with gr.Accordion("Model card: intended use, training, evaluation", open=False):
                gr.Markdown(card, elem_id="model-card")
