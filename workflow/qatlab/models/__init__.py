"""Base models and their loading: where they come from, prompts, positions, similarity; embeddings, likelihoods and translations."""
