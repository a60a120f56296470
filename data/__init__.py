"""Small real inputs, each with its source and licence. See README.md here."""
