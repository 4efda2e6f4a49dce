"""AutoTVM (Chen et al., NeurIPS 2018)."""
