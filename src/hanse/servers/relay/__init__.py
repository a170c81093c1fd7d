"""The relay door: Nostr over WebSocket (NIP-01, 11, 42)."""
