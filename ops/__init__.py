"""Operators that torch lacks or computes more slowly than it could."""
