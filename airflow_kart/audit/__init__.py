"""Questions about the artifacts of a workspace, and repairs of their records, for commands and programs alike.

The answers come from sidecars. Nothing here runs a task, but for the verification of an adoption.
"""
