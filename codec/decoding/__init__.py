"""Files to pictures. Nothing of the encoder is imported here."""
