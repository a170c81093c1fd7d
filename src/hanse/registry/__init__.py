"""The directory: offers, their capabilities, search by words and constraints, measured quality."""
