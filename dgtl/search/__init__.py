"""Search with a model instead of the hardware: annealing, and which candidates to run."""
