"""Pictures and videos become pixels and times: read, chosen, resized, cached, each loss recorded."""
