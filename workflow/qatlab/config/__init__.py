"""Typed configuration, one module per Hydra group. A stage imports its own and no other."""
