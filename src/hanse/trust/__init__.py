"""Whom a viewer may believe: acceptance, rank and outcomes, as pure functions of evidence.

Nothing here reads a clock, a file or a random number. Every answer is relative to a viewer's own
circle, and is the same whatever order the evidence arrived in.
"""
