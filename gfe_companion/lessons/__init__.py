"""Exercises that notebooks set and check: ``check("03.friction", answer)`` and ``hint("03.friction")``."""

from gfe_companion.lessons.told import check, hint

__all__ = ["check", "hint"]
