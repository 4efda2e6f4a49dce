"""From configurations to numbers: features of the loop nest, source tasks as arrays."""
