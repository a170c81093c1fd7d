"""The broker: one paid call from request to receipt, and the desk that agents ask."""
