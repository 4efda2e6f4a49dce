"""Methods and schedulers on recorded networks, searched as one: `python -m experiments.network`."""
