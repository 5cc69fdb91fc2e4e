"""The report of a run, one page: what was trained, what came out, and on which queries it went well or badly."""
