"""What is asked of a job's tables through an engine: where they are, their nights, distinct values, summaries."""
