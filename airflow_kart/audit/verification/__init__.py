"""Verification: tasks made again and compared with their artifacts, and the bytes of all artifacts read again."""
