"""The commands `featurestore label` and `featurestore score`.

They parse options, start a run and print its report. They know nothing of prompts' texts or of SQL.
"""
