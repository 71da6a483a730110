"""The Amaranth blocks: `hw/x.py` implements what `golden/x.py` specifies."""
