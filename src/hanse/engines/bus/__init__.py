"""Carrying events between those connected to this process: bus, presence, courier."""
