"""What the commands for people and scripts share: exit codes, the terminal, tables, following."""
