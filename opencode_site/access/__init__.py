"""Who may use the server beyond loopback: API keys, logins, networks, and what each scope may do."""
