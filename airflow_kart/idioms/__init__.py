"""Idioms that Python has no words for: values that a block makes current, properties computed once, names loaded late."""
