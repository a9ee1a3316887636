"""What is in an artifact, shown without loading the artifact: first rows, columns with types and statistics.

A process of its own decodes, with bounds on bytes, memory and time. No pickle is opened, and no class of a user is imported.
"""
