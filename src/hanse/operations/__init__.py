"""What an operator does with a node's log from outside: backup, restore, export, import, vacuum.

Each works on the data folder or the database itself; only `intake.py` may go through a node.
"""
