"""Tables of scores: what is in a cell, what is said of it, how it is written."""
