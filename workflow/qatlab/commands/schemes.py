"""Command schemes: list the weight-quantization schemes of methods and deployments, one per line."""

import argparse

from qatlab.config.weights import SCHEMES


def print_schemes(arguments: list[str]) -> None:
    """Print the name and description of each scheme."""
    parser = argparse.ArgumentParser(
        prog="qatlab schemes",
        description="List the schemes of weights: METHOD:SCHEME trains with one, torchao:SCHEME deploys it.",
    )
    parser.parse_args(arguments)
    width = max(map(len, SCHEMES))
    for name, scheme in SCHEMES.items():
        print(f"{name:{width}}  {scheme.description}")
