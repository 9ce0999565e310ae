"""Measurements: each module prints JSON and compares what it measures pair by pair in one run."""
