"""Benchmarks: each remakes the figures that the documentation quotes."""
