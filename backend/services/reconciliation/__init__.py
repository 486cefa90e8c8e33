"""What providers know is compared with what we do; the safe part is mended, the rest reported."""
