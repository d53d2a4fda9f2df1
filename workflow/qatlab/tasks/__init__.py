"""Evaluation tasks: one class per kind of source, with its fields, its fingerprint, its texts and how mteb knows it."""
