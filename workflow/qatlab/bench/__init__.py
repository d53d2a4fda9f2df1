"""Benchmarks: our time or memory over a reference's, measured in one run. `make bench` runs them all.

A benchmark NAME is a function `measure_NAME()`, which yields rows; `python -m qatlab bench` finds its module in BENCHMARKS.
"""
