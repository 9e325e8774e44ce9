"""The driver: frames over a byte stream, and an Executor on top of them."""
