"""A workspace of an earlier version of the package, kept to show that its artifacts load and count."""
