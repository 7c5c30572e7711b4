"""The Python client of Tradewind."""

__version__ = "0.1.0"
