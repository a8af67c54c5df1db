"""What people said about alerts, and what follows from it."""
