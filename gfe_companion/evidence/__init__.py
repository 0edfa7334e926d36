"""What the paper prints and claims, and the one rulebook by which claims are judged."""
