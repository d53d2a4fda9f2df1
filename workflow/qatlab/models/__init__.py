"""Where base models come from: a local folder, an installed package, or the hub."""
