"""One question per script: `meanfield list` shows them, `meanfield run NAME` runs one."""
