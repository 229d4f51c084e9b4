"""What a run will need, before it runs: memory and time on the machine at hand, and the setting that fits.

Nothing here decides what is computed, and no stage imports it.
"""
