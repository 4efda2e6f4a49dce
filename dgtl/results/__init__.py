"""What a run came to: its folder, its summary, measures of a search."""
