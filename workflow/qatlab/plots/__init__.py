"""Plots of a study, drawn from its tables as SVG and PNG."""
