"""Speed, beside others."""
