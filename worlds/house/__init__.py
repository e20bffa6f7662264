"""A house of rooms seen one at a time: partial view, errands one after another, and a battery."""
