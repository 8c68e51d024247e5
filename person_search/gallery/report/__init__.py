"""What a search found, for people and for programs: text, JSON, a contact sheet, a page."""
