"""Ways to tune: the protocol, the loop that runs them, the paper's three stages, the deep GP."""
