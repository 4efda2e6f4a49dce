"""Weights & Biases: a run as it goes, offline runs made anew and uploaded."""
