"""See docs/adr/0001-the-house.md."""
