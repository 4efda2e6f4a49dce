"""One run, put together: live or replayed. Nothing imports this room but `run.py` and scripts."""
