"""Benchmarks against the raw SDK, run by hand from the root: ``python -m tests.benchmarks.client``."""
