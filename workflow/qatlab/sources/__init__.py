"""Sources of training data: one module and one class each, which holds its fields, fingerprint, loader and model-card text."""
