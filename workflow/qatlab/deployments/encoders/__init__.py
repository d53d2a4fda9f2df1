"""What runs the files of each backend: one module per runtime that turns texts into embeddings."""
