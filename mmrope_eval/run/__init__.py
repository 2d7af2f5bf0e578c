"""Ask and score: what a run does from its options to the records it leaves."""
