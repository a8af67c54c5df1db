"""From Arrow columns to numbers: column kinds, their encoders, and what is counted of values and texts."""
