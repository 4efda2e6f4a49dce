"""Table 1 of the paper: `python -m experiments.table1`."""
