"""Devices behind a TVM RPC tracker: what runs on them, and how jobs get there."""
