"""One module per runtime that turns texts into embeddings."""
