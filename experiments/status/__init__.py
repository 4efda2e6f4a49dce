"""Which results are of today's models: `python -m experiments.status`."""

from experiments.status.tables import rows

__all__ = ["rows"]
