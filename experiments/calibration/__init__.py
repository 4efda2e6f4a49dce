"""Whether the deep GP knows how sure it may be: `python -m experiments.calibration`."""
