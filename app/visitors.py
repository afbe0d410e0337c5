"""What the server remembers of each visitor: their drive, and no copy of the page."""

from __future__ import annotations

from typing import Any

from gradio import state_holder


class VisitorState(state_holder.SessionState):
    """Gradio keeps all components' last values of every visitor, pictures and all, for deep links, which this page does
    not offer: about 0.8 MB for each of the last 200 visitors. Here nothing but states stays.
    """

    config_values = property(lambda self: {}, lambda self, values: None)

    def _update_config(self, key: int) -> None:
        """Nothing is kept."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Nothing is kept."""


def remember_states_alone() -> None:
    """From here on, for every visitor of every page."""
    state_holder.SessionState = VisitorState
