"""The machine that jobs run on: its CPU's features, GPUs, processes and disk."""
