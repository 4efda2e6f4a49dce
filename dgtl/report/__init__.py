"""What a person sees of a run: console, figures, pages."""
