"""Properties and resources of the machine that jobs run on: CPU features, GPUs and processes."""
