"""The executable specification: plain Python and NumPy, bit-exact with `hw/`, importing nothing else of the project."""
