"""Trainers of both model families, with checkpoints, resuming, divergence, distributed processes and cost."""
