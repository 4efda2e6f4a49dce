"""Latencies of networks by several systems, in turns: `python -m experiments.latency`."""
