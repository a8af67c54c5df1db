"""The report: what is read from a scored table, what it means, and the page that shows it."""
