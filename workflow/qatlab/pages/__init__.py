"""Self-contained HTML pages: one per study, which fills while the study runs, and one that lists all studies."""
