"""Names of keys: handles at this node, and looked up at others."""
