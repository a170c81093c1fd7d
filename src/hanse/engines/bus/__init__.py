"""Carrying events between those connected: within one process, or among the nodes of a cluster."""
