"""What a scoring run is to do, doing it, and explaining what it did."""
