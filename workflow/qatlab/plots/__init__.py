"""A study's plots: one module each, drawn from its tables, as SVG and PNG."""
