"""More than one process: arithmetic, launch files, and what really ran."""
