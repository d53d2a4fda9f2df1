"""Model families: what embedding models and causal language models each supply to the stages that they share."""
