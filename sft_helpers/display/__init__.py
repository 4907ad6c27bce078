"""How plain data is shown: escaped HTML, figures for a projector, live views with a static twin."""

from sft_helpers.display.figures import scores_with_intervals
from sft_helpers.display.html import chat, table, token_strip
from sft_helpers.display.widgets import answers_view, show

__all__ = [
    "answers_view", "chat", "scores_with_intervals", "show", "table", "token_strip",
]  # fmt: skip
