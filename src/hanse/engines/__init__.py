"""Machinery that the node calls: storage, bus, runners. Each implements ports or a room's store."""
