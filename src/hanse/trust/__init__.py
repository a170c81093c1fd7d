"""Whom to listen to, hire and let do what: evidence from events, levels, permissions."""
