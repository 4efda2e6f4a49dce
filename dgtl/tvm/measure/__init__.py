"""Building and timing of candidates on this machine."""
