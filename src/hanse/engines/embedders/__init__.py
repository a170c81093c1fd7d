"""Texts into vectors: by a table of word vectors on this machine, or by an endpoint."""
