"""Benchmarks: each prints figures for eyes, and as its last line one JSON object."""
