"""Benchmarks: time or memory of qatlab as a ratio to that of a reference, measured in one run. `make bench` runs all of them.

A benchmark NAME is a function `measure_NAME()`, which yields rows; `python -m qatlab bench` finds its module in BENCHMARKS.
"""
