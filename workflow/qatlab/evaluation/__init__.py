"""Evaluation: scores of retrieval, reranking and similarity at every precision, search, and comparison with other evaluators.

Only the modules that call the evaluators of other libraries (`sentence_transformers_compat`, `mteb_compat`) import torch.
"""
