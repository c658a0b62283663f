"""The article of a plan: its sections (story), what they say (sentences) and show (figures)."""
