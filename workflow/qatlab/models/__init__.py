"""Base models: their origin, safe loading, prompts, positions and similarity; embeddings, likelihoods and translations."""
