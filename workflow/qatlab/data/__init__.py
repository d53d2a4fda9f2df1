"""Readers of texts (files, BEIR folders, the hub, packages, message catalogues, mteb), sampling, checksums and hard negatives."""
