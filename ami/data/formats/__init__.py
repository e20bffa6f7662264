"""Formats of files with episodes: a reader per format, which yields `ami.data.recording.Recording`."""
