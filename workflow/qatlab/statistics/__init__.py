"""How sure a difference is: intervals, p-values, verdicts, and what a surer one would take."""
