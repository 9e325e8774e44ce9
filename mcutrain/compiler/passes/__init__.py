"""Passes: pure functions from graphs to graphs, one per file."""
