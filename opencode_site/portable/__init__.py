"""Tasks as files: written by `export_tasks`, read by `import_tasks`, together with the original system's."""
