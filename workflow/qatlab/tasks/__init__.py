"""Evaluation tasks: one class per kind of source, which holds its fields, fingerprint, loader and the task's identity in mteb."""
