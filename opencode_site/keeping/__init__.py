"""Backups: a consistent copy of database, spool and signing key in one file, and the way back."""
