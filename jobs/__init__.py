"""Long work outside the app process."""
