"""AutoTVM's logs as history: records, templates and their design spaces, the import.

AutoTVM itself is gone from TVM; its logs of many layers on many devices are not.
"""
