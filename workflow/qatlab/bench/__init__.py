"""Benchmarks: time or memory of qatlab as a ratio to that of a reference, measured in one run. `make bench` runs all of them.

Each module has a function `measure()`, which yields rows; `python -m qatlab bench` imports modules by their names in BENCHMARKS.
"""
