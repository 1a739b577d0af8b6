"""`manage.py serve`: one process that starts, watches, restarts and ends everything else."""
