"""Training: what to train with, and what happens while it trains."""
