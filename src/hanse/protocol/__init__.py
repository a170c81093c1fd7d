"""Bytes to valid values, messages to effects: the wire, without I/O, clock or randomness."""
