"""What customers are told: the message, its words, and the channels that carry it."""
