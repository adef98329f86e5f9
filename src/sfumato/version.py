"""The version of the package: the build and recipes read it here."""

__version__ = "0.2.0"
