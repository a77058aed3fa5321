"""What runs in Ray's workers, and what is done when one is lost."""
