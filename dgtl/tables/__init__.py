"""Recorded tables to search in: reading, choosing, leaving out, searching within one."""
