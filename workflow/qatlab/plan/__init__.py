"""From a study's name to its runs and artifacts: pure, and finished before any job starts."""
