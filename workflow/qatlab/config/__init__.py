"""Typed sections of the configuration that depend on no source, task or deployment; a stage imports only those that it reads."""
