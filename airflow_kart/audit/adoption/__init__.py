"""Adoption of artifacts after a change of code that does not matter to them, and the way back."""
