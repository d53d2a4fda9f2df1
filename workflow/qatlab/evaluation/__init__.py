"""Evaluation: metrics of retrieval, reranking, similarity, translation and language modelling, and search and drift.

Only the modules that call the evaluators of other libraries (`sentence_transformers_compat`, `mteb_compat`) import torch.
"""
