"""Model families: the parts of the stages that differ between embedding models and causal language models."""
