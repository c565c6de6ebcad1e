"""The processes of a bench, each told by a file what to do."""
