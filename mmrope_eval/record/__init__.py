"""What a run leaves on disk: typed, versioned, checked when it is read."""
