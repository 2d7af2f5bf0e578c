"""What a model family and a checkpoint are: a folder read, checked and named without loading it."""
