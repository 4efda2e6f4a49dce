"""Per-task Gaussian process on the residuals of a source model."""
