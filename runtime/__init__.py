"""The process: errors, atomic writes, device and dtype, numbers as people read them."""
