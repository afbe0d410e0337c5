"""Pictures from formulas, for the gallery."""
