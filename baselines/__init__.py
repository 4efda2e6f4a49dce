"""The systems that dgtl is compared with, each one `dgtl.methods.base.Method`.

All of them search the same design spaces, see the same features and are measured by the same loop:
what differs between two of them is the method alone. Every module says what it takes from the
original, and where it departs from it.
"""
