"""Benchmarks beside other libraries: ``python -m experiments.bench.NAME --help``."""
