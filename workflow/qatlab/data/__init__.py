"""Readers of texts: files, BEIR folders, hubs, packages, catalogues, mteb; samples, checksums and hard negatives."""
