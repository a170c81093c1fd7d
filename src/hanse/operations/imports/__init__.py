"""What others list, read into offers: MCP registries, A2A cards, OpenAPI, ARD, x402, Nostr."""
