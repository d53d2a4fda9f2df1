"""Deployments: one class per backend, with its fields, requirements, files and encoder."""
