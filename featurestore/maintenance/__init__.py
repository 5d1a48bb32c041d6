"""What happens to a store after it is written: checks, repairs, merging of parts, older formats, records of jobs.

Knows the files and tables of a store; knows nothing of the command line, of HTTP, or of how jobs' processes start.
"""
