"""A real agent at work without a key: a scripted model instead of a provider's, and a project to work on."""
