"""Statistics of differences between models: intervals, p-values, verdicts, and the required numbers of queries and seeds."""
