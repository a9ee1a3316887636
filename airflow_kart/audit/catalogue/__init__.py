"""The catalogue of a workspace: a row for each artifact, the records that answer for them, and what is found by them."""
