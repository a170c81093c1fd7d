"""The web as this node reads it: guarded, bounded."""
