"""Parts of the page Trained models."""
