"""The report: the whole tour as one static page, made by real models, resumable section by section.

tour.py       what is shown: prompts, pictures, masks, seeds (a YAML file)
said.py       values that know the Python text that makes them
shots.py      a question, the command that asks it, the files that it makes
chapters/     the sections, each a function that makes its blocks
page.py       what stands on the page, as data
build.py      section after section: resume, fail, go on
render.py     the data as HTML; templates/ holds the page, its style and its script
diagram.py    a network as SVG
drawings.py   the pictures and masks that ship, and how they were drawn
"""
