"""Models, vocabulary and rules: pure, without input or output."""
