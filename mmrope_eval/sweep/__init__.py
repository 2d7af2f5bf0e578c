"""The same questions at many context lengths and scalings."""
