"""What this is, how to read it, what it cannot do."""

from __future__ import annotations

import gradio as gr

from app.piece import MOST_FRAMES
from app.studio import Studio

TEXT = """
### What happens here

A **latent action** is a short list of numbers that says what changes between one frame of a video and the next. Nobody
labelled it: a model learned it by looking at pairs of frames. The **source** clip gives its latent actions, one for
each pair of frames. The **target** clip gives only its first frame. The world model then predicts, step by step, what
the target would look like under the source's actions. That **rollout** is the *transfer*.

The **control** is the same prediction under the actions of a clip in which nothing happens. Whatever differs between
transfer and control is the work of the actions; whatever they share is the model's own idea of how pictures go on.

**Capacity** limits how much one latent action can carry. With little, only coarse motion passes; with much, an action
can smuggle the picture itself along, and the transfer starts to look like the source. The **family** is the kind of
limit.

### How to read the result

- A good transfer moves as the source does and still looks like the target.
- *Source explained* near 0 % means that the actions say nothing about the source, so there is nothing to transfer.
- *Effect on the target* near 0 % means that transfer and control are the same: look for actions, not for pictures.
- *Read back again* near 1 means that the same actions can be read from the transfer again.

### Limits

- Up to {frames} frames at {rate:g} per second, {size} × {size} pixels: the centre square of the picture. Sound is
  ignored.
- It predicts what such a scene usually does. It knows no physics, and it is often wrong about what comes into view.
- Uploads are decoded in a separate, limited process, kept only for a short while, and never sent anywhere.

### Keyboard

With clips in focus: **←** **→** step one frame, **Home** **End** jump, **space** plays and pauses. In the row of views:
**←** **→** change the view. On the map: *Previous*, *Next* and *Point* choose without a pointer, *Choose it and its
neighbours* stands for the lasso. In a script: **1** to **9** add a prototype, **Delete** removes the chosen step,
**Ctrl Z** and **Ctrl Y** undo and redo. **Tab** reaches everything else.

### For scripts

The page answers `gradio_client` under the names `transfer`, `infer_actions`, `apply_action`, `capacity_sweep`,
`project` and `replay`; every input has a name. With `client = Client("...")` of this page's address:

- `client.predict(source="sea-pan.mp4", target="dunes-pan.mp4", api_name="/transfer")` returns a video, the latent
  actions, a recipe and scores; `target_video=handle_file("mine.mp4")` takes a video of your own.
- `client.predict(source="sea-pan.mp4", api_name="/infer_actions")` returns a list of actions.
- `client.predict(action=actions, target="dunes-pan.mp4", api_name="/apply_action")` returns a video of them.

A recipe that was downloaded here is made again, to the same bytes, by
`python -m lawm_core replay`.

### Model

**{name}**: {millions:.1f} million weights; families: {families}.

The method follows Garrido et al., *Learning Latent Action World Models In The Wild*, arXiv 2601.05230.
"""


def build_about_tab(studio: Studio, card: str | None) -> None:
    """The text, and the model's own card where there is one."""
    model = studio.model
    with gr.Column(elem_classes="reading"):
        gr.Markdown(
            TEXT.format(
                frames=MOST_FRAMES,
                rate=model.frames_per_second,
                size=model.picture_size,
                name=model.name,
                millions=model.parameter_count() / 1e6,
                families=", ".join(model.families),
            ),
            elem_id="about",
        )
        if card:
            with gr.Accordion("Model card: data, budget, measured scores", open=False):
                gr.Markdown(card, elem_id="model-card")
