"""Helpers of the SFT teaching kit: supervised fine-tuning with TRL, one experiment at a time.

The modules stand in the order in which a row of data travels: `town` and `models` give data and
model, `training` the recipe and the record of a run, `evaluation` answers and scores; `display`
shows them, `exercises` asks about them. Import what you need from its module by name.
"""

__version__ = "0.1.0"
