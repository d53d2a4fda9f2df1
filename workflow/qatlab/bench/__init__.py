"""Benchmarks: our time or memory over a reference's, measured in one run. `make bench` runs them all.

Each module has `measure()`, which yields rows; `python -m qatlab bench` finds it by its name in BENCHMARKS.
"""
