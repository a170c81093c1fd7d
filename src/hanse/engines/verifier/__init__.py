"""Signatures, checked beside the node."""
