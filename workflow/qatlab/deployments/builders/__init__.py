"""One module per way of shipping a model."""
