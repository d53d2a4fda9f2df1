"""Where texts come from: one module per source."""
