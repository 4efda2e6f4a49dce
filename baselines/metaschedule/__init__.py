"""MetaSchedule's evolutionary search (Shao et al., NeurIPS 2022)."""
