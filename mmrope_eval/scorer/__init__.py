"""A response and a target become a score, scores a number: pure functions, each with its definition and source."""
