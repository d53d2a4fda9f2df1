"""Plots of a study, one module per plot, drawn from its tables as SVG and PNG."""
