"""Peers: other relays that this node shares its log with."""
