"""Retrieval: ranking documents at a precision, and the figures of a ranking. No torch here."""
