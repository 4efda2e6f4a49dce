"""The methods that searched the same recorded tables, compared: `python -m experiments.compare`."""
