"""Benchmarks of speed and rate beside other libraries: python -m experiments.bench.NAME --help."""
