"""The front door: the command `dgtl`, and what `import dgtl` offers."""
