"""Everything that a row's score is made of, in one currency: the network, counts, the nearest training row."""
