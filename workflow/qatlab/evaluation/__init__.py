"""Metrics of tasks: retrieval at every precision, reranking, similarity, translation, bits per byte; search and drift. No torch here."""
