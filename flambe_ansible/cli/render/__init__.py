"""Plain data in, text for a terminal out; nothing here prints."""
