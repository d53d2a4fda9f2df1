"""Training in both model families: the base of their trainers, with checkpoints, resuming, divergence, distributed processes and cost."""
