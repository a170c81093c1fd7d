"""Running what a provider offers: an MCP server in a process of its own."""
