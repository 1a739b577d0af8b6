"""Django's backend for SQLite, with a better way of waiting for one's turn to write."""
