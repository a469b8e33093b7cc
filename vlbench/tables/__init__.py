"""The table that every command prints, and its writers."""
