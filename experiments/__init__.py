"""What the tables and figures of the paper say, on our own measurements: one small file each."""
