"""Replay: re-derives everything from the published log and the chain alone, and names every difference."""
