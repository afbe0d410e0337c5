"""The data that the server keeps for each open page: only the values of `gr.State`, not those of all components."""

from __future__ import annotations

from typing import Any

from gradio.state_holder import SessionState


class StateOnlySession(SessionState):
    """A Gradio session that keeps no configuration and no last values of the page's components.

    Gradio keeps them for deep links, which this page does not offer. They take about 0.8 MB for each of the last 200
    sessions.
    """

    config_values = property(lambda self: {}, lambda self, values: None)

    def _update_config(self, key: int) -> None:
        """Do nothing."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Do nothing."""
