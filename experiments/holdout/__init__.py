"""Source tasks held out, where settings are chosen: `python -m experiments.holdout`."""
