"""Sources of training data: one module and one class each, with its fields, its fingerprint, its rows and its words in model cards."""
