"""Base models: their origin, safe loading, prompts, positions and similarity; embedding models and causal language models."""
