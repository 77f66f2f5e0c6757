"""What scripts/test runs, and how it reads what the runs print."""
