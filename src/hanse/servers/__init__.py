"""Doors that others knock at: each translates one wire to calls on the rooms below."""
