"""schemes: the schemes of weights that methods and deployments are chosen with, one per line."""

import argparse

from qatlab.config.weights import SCHEMES


def print_schemes(arguments: list[str]) -> None:
    """Print each scheme's name and what it is."""
    parser = argparse.ArgumentParser(
        prog="qatlab schemes",
        description="List the schemes of weights: METHOD:SCHEME trains for one, torchao:SCHEME ships it.",
    )
    parser.parse_args(arguments)
    width = max(map(len, SCHEMES))
    for name, scheme in SCHEMES.items():
        print(f"{name:{width}}  {scheme.description}")
