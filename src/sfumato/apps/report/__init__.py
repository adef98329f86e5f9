"""The report: every technique on one static page, made by real models, resumable section by section.

tour.py           what is shown: prompts, pictures, masks, seeds (a YAML file)
snippets.py       values together with the Python text that makes them
picture_sets.py   an expression, the command that says it, the files that it makes
workspace.py      what a section works with: model, tour, folder
chapters/         the sections of the report and of the demo, each a function that makes its blocks
page.py           what stands on the page, as data
build.py          section after section: resume, fail, go on
render.py         the data as HTML; templates/ holds the page, its style and its script
diagram.py        a network as SVG
trainings.py      the models of Part B
"""
