"""How plain data is shown: escaped HTML, figures for a projector, live views with a static twin."""

from sft_helpers.display.figures import loss_curve, scores_with_intervals
from sft_helpers.display.html import chat, side_by_side, table, token_strip
from sft_helpers.display.widgets import answers_view, live_monitor, show

__all__ = [
    "answers_view",
    "chat",
    "live_monitor",
    "loss_curve",
    "scores_with_intervals",
    "show",
    "side_by_side",
    "table",
    "token_strip",
]
