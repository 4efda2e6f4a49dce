"""The model's tuning set against a random one: `python -m experiments.tuning_set`."""
