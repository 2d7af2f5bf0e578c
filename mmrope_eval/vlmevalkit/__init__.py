"""VLMEvalKit's own number from the same responses, made by its code in a process of its own."""
