"""The files of a study's tables/ folder."""

LONG = ("scores.csv", "drift.csv", "cost.csv")
WIDE = ("scores_by_precision", "all_metrics", "drift_summary", "cost_summary")
TABLES = (*LONG, *(f"{name}.{form}" for name in WIDE for form in ("csv", "md", "tex")))
