"""CHAMELEON (Ahn et al., ICLR 2020)."""
